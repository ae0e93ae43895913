import { layOut, figure, median, ratio, type Row } from './report.ts';

/** What the project promises of itself. */
export interface Target {
  readonly text: string;
  /** Absent when something that it needs was not measured. */
  readonly measured: number | undefined;
  readonly met: boolean | undefined;
}

interface Promised {
  /** Of the row. */
  readonly key: string;
  readonly what: string;
  readonly sign: '≥' | '≤';
  readonly bound: number;
  /** A peer, whose value is multiplied; or the unit of the value itself. */
  readonly of: { readonly peer: string } | { readonly unit: string };
}

const times = (peer: string) => ({ peer });
const unit = (name: string) => ({ unit: name });

const PROMISED: readonly Promised[] = [
  { key: 'rps16', what: 'requests/s at 16 tunnels', sign: '≥', bound: 2.6, of: times('squid') },
  { key: 'cpu16', what: 'CPU per request at 16 tunnels', sign: '≤', bound: 1.7, of: times('nginx') },
  { key: 'rpsPage', what: 'requests/s of 10 KB', sign: '≥', bound: 2.1, of: times('squid') },
  { key: 'p50', what: 'p50 at one tunnel', sign: '≤', bound: 1.05, of: times('nginx') },
  { key: 'p99', what: 'p99 at one tunnel', sign: '≤', bound: 1.3, of: times('nginx') },
  { key: 'tunnels', what: 'new tunnels/s', sign: '≥', bound: 1.5, of: times('squid') },
  { key: 'cpuTunnel', what: 'CPU per new tunnel', sign: '≤', bound: 1.4, of: times('nginx') },
  { key: 'resumed', what: 'new tunnels/s, TLS resumed', sign: '≥', bound: 1.6, of: times('squid') },
  { key: 'names', what: 'new host names/s', sign: '≥', bound: 1.6, of: times('squid') },
  { key: 'download', what: '100 MB, MB/s', sign: '≥', bound: 1.3, of: times('squid') },
  { key: 'cpuDownload', what: 'CPU per 100 MB', sign: '≤', bound: 1.3, of: times('nginx') },
  {
    key: 'rpsH2',
    what: 'HTTP/2 requests/s, HTTP/1.1 upstream',
    sign: '≥',
    bound: 0.9,
    of: times('node-http2'),
  },
  {
    key: 'rpsH2ToH2',
    what: 'HTTP/2 requests/s, HTTP/2 upstream',
    sign: '≥',
    bound: 0.9,
    of: times('node-http2'),
  },
  { key: 'stalled', what: 'growth while a client does not read 1 GB', sign: '≤', bound: 10, of: unit('MB') },
  {
    key: 'perTunnel10k',
    what: 'memory per tunnel of 10,000 idle ones',
    sign: '≤',
    bound: 32,
    of: unit('KB'),
  },
  { key: 'load', what: 'memory with 16 busy tunnels', sign: '≤', bound: 150, of: unit('MB') },
  { key: 'cpuRules', what: 'CPU with 10,000 rules', sign: '≤', bound: 1.05, of: unit('× 10 rules') },
  { key: 'scrub1', what: 'scrub with 1 secret', sign: '≥', bound: 1.5, of: unit('GB/s') },
  { key: 'scrub100', what: 'scrub with 100 secrets', sign: '≥', bound: 1, of: unit('GB/s') },
  { key: 'stallMint', what: 'stall while minting', sign: '≤', bound: 5, of: unit('ms') },
  { key: 'stallFetch', what: 'stall while fetching', sign: '≤', bound: 5, of: unit('ms') },
  { key: 'stallReload', what: 'stall while reloading 10,000 rules', sign: '≤', bound: 5, of: unit('ms') },
];

export function targets(rows: readonly Row[]): Target[] {
  return PROMISED.map(({ key, what, sign, bound, of }) => {
    const row = rows.find(one => one.key === key);
    const text = `${what} ${sign} ${bound} ${'peer' in of ? `× ${of.peer}` : of.unit}`;
    if (!row) return { text, measured: undefined, met: undefined };
    const value = 'peer' in of ? ratio(row, 'stubgate', of.peer) : median(row.values['stubgate'] ?? []);
    if (!Number.isFinite(value)) return { text, measured: undefined, met: undefined };
    return { text, measured: value, met: sign === '≥' ? value >= bound : value <= bound };
  });
}

export function targetLines(all: readonly Target[]): string {
  const word = (met: boolean | undefined): string =>
    met === undefined ? 'not measured' : met ? 'met' : 'MISSED';
  return layOut(all.map(({ text, measured, met }) => [text, figure(measured ?? Number.NaN), word(met)]));
}
