import { VaultError } from '../types.ts';
import { type Exchange, type Exchanged, Exchanger, retried } from './exchange.ts';
import { Trust } from './trust.ts';

/** Of one exchange: less than what one read gets, so that its own fault is told. */
const TIMEOUT_MS = 8_000;

export interface SdkExchange extends Exchange {
  /** Plain http may be used: metadata of a machine has nothing else. */
  readonly insecure?: boolean;
}

/**
 * What a vendor's SDK sends and receives, instead of its own HTTP client: no proxy variable, no redirect, bounded in time
 * and size, with the trust of the vault. Throws VaultError that holds nothing of what was sent or received but the host.
 */
export class Transport {
  readonly trust: Trust;
  readonly #exchanger: Exchanger;

  constructor(caFile: string | undefined) {
    this.trust = new Trust(caFile, true);
    this.#exchanger = new Exchanger(this.trust);
    silence();
  }

  /** Tries again what may pass, within the signal's time; the last answer, whatever its status. */
  async send({ insecure, ...exchange }: SdkExchange, until?: AbortSignal): Promise<Exchanged> {
    const limit = AbortSignal.timeout(TIMEOUT_MS);
    const signal = until ? AbortSignal.any([until, limit]) : limit;
    const { protocol, host } = exchange.url;
    const fault = (kind: VaultError['kind'], message: string) =>
      new VaultError(kind, `${protocol}//${host}: ${message}`);
    if (protocol !== 'https:' && !(insecure && protocol === 'http:'))
      throw fault('unavailable', 'is not asked over plain http; write an https address');
    return retried(() => this.#exchanger.once(exchange, signal), signal).catch((error: VaultError) => {
      throw fault(error.kind, error.message);
    });
  }
}

/** Variables by which vendors' SDKs write what they send and receive, secrets included, to the log. */
const REVEALING = /^(AZURE_LOG_LEVEL|GOOGLE_SDK_NODE_LOGGING|GRPC_(NODE_)?(TRACE|VERBOSITY)|DEBUG(_AUTH)?)$/;

/** Keeps SDKs that are loaded from now on from logging by themselves: each is loaded after its vault has a transport. */
function silence(): void {
  for (const name of Object.keys(process.env)) if (REVEALING.test(name)) delete process.env[name];
}
