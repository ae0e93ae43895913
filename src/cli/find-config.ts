import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { Option } from 'commander';
import { UsageError } from './fail.ts';

const PLACES = ['stubgate.yaml', 'config/stubgate.yaml'];

export const configOption = (): Option =>
  new Option(
    '-c, --config <file>',
    'the configuration (else $STUBGATE_CONFIG, ./stubgate.yaml, ./config/stubgate.yaml)',
  );

/** Absolute path of the configuration (contract, section 2); undefined if none was named and none is there. */
export function findConfig(named: string | undefined): string | undefined {
  const file = named ?? process.env['STUBGATE_CONFIG'];
  if (file !== undefined) {
    if (!existsSync(file))
      throw new UsageError(`${file}: there is no such file; write one with "stubgate init"`);
    return resolve(file);
  }
  const found = PLACES.find(place => existsSync(place));
  return found === undefined ? undefined : resolve(found);
}

export function requireConfig(named: string | undefined): string {
  const file = findConfig(named);
  if (file === undefined) {
    throw new UsageError(
      `there is no ${PLACES.join(' and no ')} here; write one with "stubgate init", or name one with --config`,
    );
  }
  return file;
}
