#!/usr/bin/env -S node --disable-sigusr1 --max-semi-space-size=4
import { join } from 'node:path';
import { keepCompiled } from './cli/compile-cache.ts';

// Beside the code, which is as good a secret of its owner's as what is compiled of it. Not of the source, in development.
if (import.meta.filename.endsWith('.js')) keepCompiled(join(import.meta.dirname, '.compiled'));
const { main } = await import('./cli/index.ts');
await main(process.argv);
