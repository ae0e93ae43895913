import { figure, median, ratio, type Row } from './report.ts';

const GATE = 'stubgate';
/** In the picture's order; the first ones in the left column. */
const SHOWN: readonly (readonly { readonly key: string; readonly title: string }[])[] = [
  [
    { key: 'rps16', title: 'Requests/s, small JSON, 16 tunnels' },
    { key: 'rpsPage', title: 'Requests/s, 10 KB JSON, 16 tunnels' },
    { key: 'rpsH2', title: 'Requests/s, HTTP/2' },
    { key: 'tunnels', title: 'New tunnels/s' },
    { key: 'resumed', title: 'New tunnels/s, TLS resumed' },
  ],
  [
    { key: 'names', title: 'New host names/s' },
    { key: 'download', title: '100 MB download, MB/s' },
    { key: 'cpu16', title: 'CPU per request, µs' },
    { key: 'p50', title: 'p50 at one tunnel, µs' },
    { key: 'perTunnel', title: 'Memory per idle tunnel, KB' },
  ],
];
/** px. */
const COLUMN = 430;
const NAME = 112;
const BAR = 190;
const LINE = 15;
const HEAD = 24;
const TOP = 82;
const GAP = 14;
/** Ratio at which a bar is as long as it may be; a longer one is cut off, and its figure says so. */
const LONGEST = 2;

const LEGEND =
  'Faint bars: reverse proxies, which take no CONNECT and mint no certificates. In brackets: the value itself. »: the bar is cut off.';

const STYLE = `
text { font: 11px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #57606a }
.title { font-weight: 600; font-size: 12px; fill: #1f2328 } .head { font-weight: 600; font-size: 15px; fill: #1f2328 }
.gate { fill: #0969da } .intercepts { fill: #8c959f } .limit { fill: #d0d7de } .own { font-weight: 600; fill: #1f2328 }
line { stroke: #0969da; stroke-dasharray: 2 3 }
@media (prefers-color-scheme: dark) {
  text { fill: #9198a1 } .title, .head, .own { fill: #f0f6fc }
  .gate { fill: #4493f8 } .intercepts { fill: #656c76 } .limit { fill: #3d444d } line { stroke: #4493f8 }
}`;

const escape = (text: string): string =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');

interface Bars {
  readonly row: Row;
  readonly title: string;
  /** Peer → its value ÷ the gate's. */
  readonly ratios: readonly (readonly [string, number])[];
}

/** What the gate and its peers reach in each work, the gate as 1. `reverse`: the peers that only terminate TLS. */
export function picture(rows: readonly Row[], reverse: readonly string[], caption: string): string {
  const columns = SHOWN.map(column =>
    column.flatMap(({ key, title }) => {
      const row = rows.find(one => one.key === key);
      const bars = row && barsOf(row, title);
      return bars ? [bars] : [];
    }),
  );
  const height = (column: readonly Bars[]): number =>
    column.reduce((sum, { ratios }) => sum + HEAD + ratios.length * LINE + GAP, TOP);
  const total = Math.max(TOP, ...columns.map(height)) + 8;
  const parts = columns.flatMap((column, i) => {
    let y = TOP;
    return column.map(bars => {
      const drawn = group(bars, i * COLUMN + 16, y, reverse);
      y += HEAD + bars.ratios.length * LINE + GAP;
      return drawn;
    });
  });
  const width = COLUMN * columns.length;
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${total}" width="${width}" height="${total}" role="img" aria-label="Stubgate beside other proxies">
<style>${STYLE}</style>
<text class="head" x="16" y="24">Stubgate beside other proxies: value of each ÷ Stubgate’s</text>
<text x="16" y="42">${escape(caption)}</text>
<text x="16" y="58">${escape(LEGEND)}</text>
${parts.join('\n')}
</svg>
`;
}

function barsOf(row: Row, title: string): Bars | undefined {
  const ratios = Object.keys(row.values)
    .map(peer => [peer, peer === GATE ? 1 : 1 / ratio(row, GATE, peer)] as const)
    .filter(([, value]) => Number.isFinite(value));
  return ratios.length > 1 && ratios.some(([peer]) => peer === GATE) ? { row, title, ratios } : undefined;
}

function group({ row, title, ratios }: Bars, x: number, y: number, reverse: readonly string[]): string {
  const left = x + NAME;
  const lines = ratios.map(([peer, value], i) => {
    const at = y + HEAD + i * LINE;
    const kind = peer === GATE ? 'gate' : reverse.includes(peer) ? 'limit' : 'intercepts';
    const length = Math.max(1, (Math.min(value, LONGEST) / LONGEST) * BAR).toFixed(1);
    const shown = `${value.toFixed(2)} ×${value > LONGEST ? ' »' : ''}  (${figure(median(row.values[peer] ?? []))})`;
    const own = peer === GATE ? ' class="own"' : '';
    return `<text${own} x="${left - 6}" y="${at}" text-anchor="end">${escape(peer)}</text><rect class="${kind}" x="${left}" y="${at - 9}" width="${length}" height="10" rx="1.5"/><text${own} x="${left + BAR + 8}" y="${at}">${escape(shown)}</text>`;
  });
  const one = left + BAR / LONGEST;
  const [from, to] = [y + HEAD - 11, y + HEAD + (ratios.length - 1) * LINE + 3];
  return `<g><text class="title" x="${x}" y="${y + 4}">${escape(title)} — ${row.better === 'higher' ? 'more' : 'less'} is better</text>
${lines.join('\n')}
<line x1="${one}" x2="${one}" y1="${from}" y2="${to}"/></g>`;
}
