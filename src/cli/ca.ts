import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { loadConfig } from '../config/load.ts';
import type { Config } from '../config/types.ts';
import { caBundle } from '../intercept/bundle.ts';
import { type Authority, openAuthority } from '../intercept/ca.ts';
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
