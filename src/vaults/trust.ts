import { readFile } from 'node:fs/promises';
import tls from 'node:tls';
import { systemRoots } from '../roots.ts';
import { VaultError } from '../types.ts';

const NO_CERTIFICATES = 'its "ca_file" holds no certificates; write a PEM file';

/** Whom a vault's client believes: the operator's CA, read anew so that a changed one is seen; else what the system trusts. */
export class Trust {
  readonly #caFile: string | undefined;
  readonly #besides: boolean;
  #known: { readonly ca: string; readonly context: tls.SecureContext } | undefined;

  /** `besides`: the operator's CA is believed besides the system's, for a vault of several servers. */
  constructor(caFile: string | undefined, besides = false) {
    this.#caFile = caFile;
    this.#besides = besides;
  }

  /** Throws VaultError. */
  async context(): Promise<tls.SecureContext> {
    const ca = await this.#read();
    if (this.#known?.ca === ca) return this.#known.context;
    let context: tls.SecureContext;
    try {
      context = tls.createSecureContext({ ca: this.#roots(ca), minVersion: 'TLSv1.2' });
    } catch {
      throw new VaultError('unavailable', NO_CERTIFICATES);
    }
    this.#known = { ca, context };
    return context;
  }

  /** All certificates as one PEM text. Throws VaultError. */
  async pem(): Promise<string> {
    return this.#roots(await this.#read()).join('\n');
  }

  #roots(ca: string): string[] {
    if (ca !== '' && !this.#besides) return [ca];
    return [...systemRoots(), ...(ca === '' ? [] : [ca])];
  }

  async #read(): Promise<string> {
    if (this.#caFile === undefined) return '';
    const pem = await readFile(this.#caFile, 'utf8').catch((error: NodeJS.ErrnoException) => {
      throw new VaultError('unavailable', `its "ca_file" cannot be read (${error.code}); check the path`);
    });
    // One without would mean every CA of the system.
    if (pem.includes('-----BEGIN CERTIFICATE-----')) return pem;
    throw new VaultError('unavailable', NO_CERTIFICATES);
  }
}
