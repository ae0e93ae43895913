import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { loadConfig } from '../config/load.ts';
import type { Config } from '../config/types.ts';
import { caBundle } from '../intercept/bundle.ts';
import { type Authority, openAuthority, rotateAuthority } from '../intercept/ca.ts';
import { UsageError } from './fail.ts';
import { configOption, requireConfig } from './find-config.ts';
import { print } from './output.ts';

interface CaOptions {
  config?: string;
  bundle?: boolean;
}

export function caVerb(program: Command): void {
  const ca = program
    .command('ca')
    .description('the CA that sandboxes trust')
    .addHelpText('after', '\nExample:\n  stubgate ca export > stubgate-ca.pem');
  ca.command('init')
    .description('make the CA if there is none, and print its fingerprint')
    .addOption(configOption())
    .addHelpText('after', '\nExample:\n  stubgate ca init')
    .action(({ config }: CaOptions) => describe(openAuthority(loadConfig(requireConfig(config)).ca)));
  ca.command('export')
    .description('print the CA certificate as PEM')
    .addOption(configOption())
    .option('--bundle', "with the system's and the configured ones")
    .addHelpText('after', '\nExample:\n  stubgate ca export --bundle > all.pem')
    .action(({ config, bundle }: CaOptions) => exportPem(loadConfig(requireConfig(config)), bundle ?? false));
  ca.command('rotate')
    .description('put a new CA in the place of the old one, for the next start')
    .addOption(configOption())
    .addHelpText('after', ROTATE)
    .action(({ config }: CaOptions) => rotate(loadConfig(requireConfig(config))));
}

const ROTATE = `
Sandboxes that were started before trust the old CA, and their stubs are derived from its key: end their sessions first.
The old key is removed; the old certificate stays, so that it can be taken out of whatever trusts it.

Example:
  stubgate ca rotate && systemctl restart stubgate && stubgate ca export > stubgate-ca.pem`;

function rotate({ ca }: Config): void {
  if (ca.cert !== undefined)
    throw new UsageError('the CA is your own ("ca.cert"): replace the files that ca.cert and ca.key name');
  const file = join(ca.dir, 'ca.pem');
  if (!existsSync(file)) throw new Error(`there is no CA at ${file} yet; make it with "stubgate ca init"`);
  const { authority, old } = rotateAuthority(ca.dir);
  describe(authority);
  print(`old     ${old}`);
  console.error('stubgate: a gate that runs has the old CA until it is restarted');
}

function describe({ certificate }: Authority): void {
  print(`subject ${certificate.subject.replaceAll('\n', ', ')}`);
  print(`sha256  ${certificate.fingerprint256}`);
  print(`expires ${certificate.validToDate.toISOString()}`);
}

function exportPem({ ca, upstream }: Config, bundle: boolean): void {
  const file = ca.cert ?? join(ca.dir, 'ca.pem');
  if (!existsSync(file)) throw new Error(`there is no CA at ${file} yet; make it with "stubgate ca init"`);
  const authority = openAuthority(ca);
  print((bundle ? caBundle(authority, upstream.caFile) : authority.rootPem).trimEnd());
}
