#!/usr/bin/env -S node --disable-sigusr1 --max-semi-space-size=4
import { main } from './cli/index.ts';

await main(process.argv);
