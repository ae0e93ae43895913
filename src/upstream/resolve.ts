import { lookup } from 'node:dns/promises';
import { isIP } from 'node:net';
import { Refusal } from '../errors.ts';
import { type Cidr, classify, mayDial } from '../policy/address.ts';
import { within } from './deadline.ts';
import { type Endpoint, isOwn } from './own.ts';

/** Every address of a host, as text. Rejects when there is none. */
export type Lookup = (host: string) => Promise<readonly string[]>;

/** Where the operator wants a host to be dialled; without `port` at the port that was asked for. */
export interface Override {
  readonly address: string;
  readonly port?: number;
}

export interface ResolverOptions {
  readonly overrides: ReadonlyMap<string, Override>;
  readonly allowPrivate: readonly Cidr[];
  /** Where this gate listens. */
  readonly own: () => readonly Endpoint[];
  readonly lookup: Lookup | undefined;
  readonly lookupMs: number;
}

/** Addresses of one host that are tried. */
const MAX_TRIED = 4;

/**
 * From a host to the addresses that may be dialled. A name is asked for once and all answers are judged: what is dialled
 * is an answer that was seen here, so a name that changes its mind (DNS rebinding) changes nothing.
 */
export class Resolver {
  readonly #options: ResolverOptions;
  readonly #lookup: Lookup;
  /** Lookups under way: connections that open at the same time share one answer. */
  readonly #pending = new Map<string, Promise<readonly string[]>>();

  constructor(options: ResolverOptions) {
    this.#options = options;
    this.#lookup = options.lookup ?? systemLookup;
  }

  /** Rejects with `dns_failure`, or `forbidden_address` if a single answer may not be dialled. */
  async resolve(host: string, port: number): Promise<readonly Endpoint[]> {
    const override = this.override(host, port);
    if (override) return [override];
    const endpoints = (await this.#addresses(host)).map(address => ({ address, port }));
    for (const endpoint of endpoints) this.requireDialable(host, endpoint);
    return alternating(endpoints).slice(0, MAX_TRIED);
  }

  /** Of the operator's own parent proxy: wherever it stands. */
  async resolveParent(host: string, port: number): Promise<readonly Endpoint[]> {
    const endpoints = (await this.#addresses(host)).map(address => ({ address, port }));
    for (const endpoint of endpoints) this.#requireHarmless(host, endpoint);
    return endpoints.slice(0, MAX_TRIED);
  }

  /** The operator's word on where a host is; it counts as permission. */
  override(host: string, port: number): Endpoint | undefined {
    const found = this.#options.overrides.get(host);
    if (!found) return undefined;
    const endpoint = { address: found.address, port: found.port ?? port };
    this.#requireHarmless(host, endpoint);
    return endpoint;
  }

  requireDialable(host: string, endpoint: Endpoint): void {
    if (!mayDial(endpoint.address, this.#options.allowPrivate)) throw forbidden(host, endpoint);
    this.#requireHarmless(host, endpoint);
  }

  /** What nobody can permit: a metadata service, the gate itself, and what is no address. */
  #requireHarmless(host: string, endpoint: Endpoint): void {
    const is = classify(endpoint.address);
    if (is === 'metadata' || is === 'invalid') throw forbidden(host, endpoint);
    if (isOwn(endpoint, this.#options.own())) throw forbidden(host, endpoint, 'a listener of this gate');
  }

  #addresses(host: string): Promise<readonly string[]> {
    if (isIP(host) !== 0) return Promise.resolve([host]);
    const pending = this.#pending.get(host);
    if (pending) return pending;
    const asked = this.#ask(host).finally(() => this.#pending.delete(host));
    this.#pending.set(host, asked);
    return asked;
  }

  async #ask(host: string): Promise<readonly string[]> {
    try {
      const addresses = await within(
        this.#options.lookupMs,
        this.#lookup(host),
        `no answer for ${host} in time`,
      );
      if (addresses.length === 0) throw new Error(`${host} has no address`);
      return addresses;
    } catch (cause) {
      throw new Refusal('dns_failure', { cause });
    }
  }
}

async function systemLookup(host: string): Promise<readonly string[]> {
  const answers = await lookup(host, { all: true, order: 'verbatim' });
  return answers.map(answer => answer.address);
}

/** The first answer's family first, then one of each in turn, so that a family that leads nowhere does not use up every try. */
function alternating(endpoints: readonly Endpoint[]): readonly Endpoint[] {
  const isFirst = isIP(endpoints[0]?.address ?? '');
  const first = endpoints.filter(e => isIP(e.address) === isFirst);
  const second = endpoints.filter(e => isIP(e.address) !== isFirst);
  return first
    .flatMap((endpoint, i) => [endpoint, ...second.slice(i, i + 1)])
    .concat(second.slice(first.length));
}

function forbidden(host: string, { address, port }: Endpoint, is: string = classify(address)): Refusal {
  return new Refusal('forbidden_address', {
    cause: new Error(`${host} leads to ${address} port ${port}: ${is}`),
  });
}
