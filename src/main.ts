#!/usr/bin/env -S node --disable-sigusr1
import { main } from './cli/index.ts';

await main(process.argv);
