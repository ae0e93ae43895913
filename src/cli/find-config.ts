import { Option } from 'commander';
import { findConfig } from '../config/load.ts';
import { UsageError } from './fail.ts';

export const configOption = (): Option =>
  new Option(
    '-c, --config <file>',
    'the configuration (else $STUBGATE_CONFIG, ./stubgate.yaml, ./config/stubgate.yaml)',
  );

/** Absolute path of the configuration. Throws UsageError if none is named, and none is there. */
export function requireConfig(named: string | undefined): string {
  try {
    return findConfig(named);
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
}
