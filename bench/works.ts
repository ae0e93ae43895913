import type { Options, Result } from './loadgen.ts';
import { DOMAIN, FILE_BYTES, PAGE, PATHS, SMALL } from './origin.ts';

/** One kind of load. */
export interface Work {
  readonly name: string;
  /** Options of loadgen; `seconds` is the length of a sample, `firstName` the first host name not yet used. */
  options(seconds: number, firstName: number): Options;
  /** Host name pattern; default is one name for all. */
  readonly host?: string;
  /** What is read from a sample. */
  readonly metrics: readonly Metric[];
}

export interface Metric {
  readonly label: string;
  /** Whether a higher or a lower value is the better one. */
  readonly better: 'higher' | 'lower';
  /** Key in the report. */
  readonly key: string;
  readonly value: (result: Result) => number;
}

export const NEW_NAMES = 300;
export const NAME_PATTERN = `h%d.${DOMAIN}`;
const DOWNLOADS = 3;

const rate = (key: string, label: string): Metric => ({ key, label, better: 'higher', value: r => r.rps });
const cpu = (key: string, label: string): Metric => ({
  key,
  label,
  better: 'lower',
  value: r => (r.proxy_cpu / r.ok) * 1e6,
});

function keepalive(tunnels: number, metrics: readonly Metric[]): Work {
  return {
    name: `keepalive${tunnels}`,
    options: seconds => ({ c: tunnels, w: 0.3, d: seconds, p: PATHS.small, l: SMALL.length }),
    metrics,
  };
}

export const WORKS: readonly Work[] = [
  keepalive(1, [
    rate('rps1', 'requests/s, 1 tunnel'),
    cpu('cpu1', 'CPU per request, 1 tunnel, µs'),
    {
      key: 'p50',
      label: 'p50 at 1 tunnel, µs',
      better: 'lower',
      value: r => r.latency_us?.p50 ?? Number.NaN,
    },
    {
      key: 'p99',
      label: 'p99 at 1 tunnel, µs',
      better: 'lower',
      value: r => r.latency_us?.p99 ?? Number.NaN,
    },
  ]),
  keepalive(16, [rate('rps16', 'requests/s, 16 tunnels'), cpu('cpu16', 'CPU per request, 16 tunnels, µs')]),
  keepalive(64, [rate('rps64', 'requests/s, 64 tunnels'), cpu('cpu64', 'CPU per request, 64 tunnels, µs')]),
  {
    name: 'page16',
    options: seconds => ({ c: 16, w: 0.3, d: seconds, p: PATHS.page, l: PAGE.length }),
    metrics: [
      rate('rpsPage', 'requests/s, 10 KB JSON, 16 tunnels'),
      cpu('cpuPage', 'CPU per request, 10 KB JSON, µs'),
    ],
  },
  {
    name: 'tunnels',
    options: seconds => ({ c: 16, k: 1, w: 0.3, d: seconds, n: 50_000, p: PATHS.small }),
    metrics: [
      { key: 'tunnels', label: 'new tunnels/s', better: 'higher', value: r => r.rps },
      cpu('cpuTunnel', 'CPU per new tunnel, µs'),
    ],
  },
  {
    name: 'resumed',
    options: seconds => ({ c: 16, k: 1, w: 0.3, d: seconds, n: 50_000, p: PATHS.small, s: '' }),
    metrics: [
      { key: 'resumed', label: 'new tunnels/s, TLS resumed', better: 'higher', value: r => r.rps },
      cpu('cpuResumed', 'CPU per resumed tunnel, µs'),
      {
        key: 'resumedShare',
        label: 'tunnels that were resumed, %',
        better: 'higher',
        value: r => (r.resumed / r.tunnels) * 100,
      },
    ],
  },
  {
    name: 'names',
    host: NAME_PATTERN,
    options: (seconds, firstName) => ({
      c: 4,
      k: 1,
      r: NEW_NAMES,
      o: firstName,
      d: seconds * 2,
      p: PATHS.small,
    }),
    metrics: [
      { key: 'names', label: 'new host names/s', better: 'higher', value: r => r.rps },
      cpu('cpuName', 'CPU per new host name, µs'),
    ],
  },
  {
    name: 'download',
    options: () => ({ c: 1, n: DOWNLOADS, d: 20, p: PATHS.file, l: FILE_BYTES }),
    metrics: [
      { key: 'download', label: '100 MB download, MB/s', better: 'higher', value: r => r.mb_per_s },
      {
        key: 'cpuDownload',
        label: 'CPU per 100 MB, ms',
        better: 'lower',
        value: r => (r.proxy_cpu / r.ok) * 1e3,
      },
    ],
  },
];

/** Measured in another way than by load: see memory.ts. */
export const MEMORY_WORKS = ['idle', 'idle10k', 'load', 'stalled'] as const;
