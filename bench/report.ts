/** What one peer scored in one metric: a value for each round. */
export type Series = readonly number[];

/** Peer → series; a peer that the metric does not fit, or that was skipped, is absent. */
export interface Row {
  readonly key: string;
  readonly label: string;
  readonly better: 'higher' | 'lower';
  readonly values: Readonly<Record<string, Series>>;
}

/** NaN, an invalid round, makes the whole NaN. */
export function median(series: Series): number {
  if (series.some(Number.isNaN)) return Number.NaN;
  const sorted = series.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  const [low, high] = [sorted[sorted.length % 2 ? middle : middle - 1], sorted[middle]];
  return low === undefined || high === undefined ? Number.NaN : (low + high) / 2;
}

/** Ratio within each round, whose samples were taken one after the other; then the median of those. */
export function ratio(row: Row, of: string, to: string): number {
  const [ours, theirs] = [row.values[of] ?? [], row.values[to] ?? []];
  const pairs = Math.min(ours.length, theirs.length);
  return median(Array.from({ length: pairs }, (_, i) => (ours[i] ?? Number.NaN) / (theirs[i] ?? Number.NaN)));
}

/** Three significant digits, thousands separated. */
export function figure(value: number): string {
  if (!Number.isFinite(value)) return '–';
  if (Math.abs(value) >= 100) return Math.round(value).toLocaleString('en-US');
  return value.toFixed(Math.abs(value) >= 10 ? 1 : 2);
}

/** Columns padded to the widest cell; the first to the left, the others to the right. */
export function layOut(cells: readonly (readonly string[])[]): string {
  const width = (column: number): number => Math.max(...cells.map(line => line[column]?.length ?? 0));
  const pad = (cell: string, column: number): string =>
    column === 0 ? cell.padEnd(width(0)) : cell.padStart(width(column));
  return cells.map(line => line.map(pad).join('  ').trimEnd()).join('\n');
}

/** One line a metric: each peer's median, then the gate's ratio to each other peer. */
export function ratioTable(rows: readonly Row[], peers: readonly string[], gate: string): string {
  const others = peers.includes(gate) ? peers.filter(peer => peer !== gate) : [];
  const head = ['median of the rounds', '', ...peers, ...others.map(peer => `÷ ${peer}`)];
  const lines = rows.map(row => [
    row.label,
    row.better === 'higher' ? '↑' : '↓',
    ...peers.map(peer => figure(median(row.values[peer] ?? []))),
    ...others.map(peer => figure(ratio(row, gate, peer))),
  ]);
  return layOut([head, ...lines]);
}

/** How far the rounds lay apart. */
export function spreadTable(rows: readonly Row[], peers: readonly string[]): string {
  const spread = (series: Series | undefined): string =>
    series?.length ? `${figure(Math.min(...series))} – ${figure(Math.max(...series))}` : '–';
  const lines = rows.map(row => [row.label, ...peers.map(peer => spread(row.values[peer]))]);
  return layOut([['lowest – highest round', ...peers], ...lines]);
}

/** What the project promises of itself. */
export interface Target {
  readonly text: string;
  /** Absent when a peer that it needs was not measured. */
  readonly measured: number | undefined;
  readonly met: boolean | undefined;
}

export function targets(rows: readonly Row[]): Target[] {
  const find = (key: string): Row | undefined => rows.find(row => row.key === key);
  const target = (
    text: string,
    key: string,
    measure: (row: Row) => number,
    holds: (value: number) => boolean,
  ): Target => {
    const row = find(key);
    const value = row ? measure(row) : Number.NaN;
    return Number.isFinite(value)
      ? { text, measured: value, met: holds(value) }
      : { text, measured: undefined, met: undefined };
  };
  const to = (peer: string) => (row: Row) => ratio(row, 'stubgate', peer);
  return [
    target('requests/s at 16 tunnels ≥ 2.2 × squid', 'rps16', to('squid'), x => x >= 2.2),
    target('CPU per request at 16 tunnels ≤ 2.2 × nginx', 'cpu16', to('nginx'), x => x <= 2.2),
    target('p50 at one tunnel ≤ 1 × squid', 'p50', to('squid'), x => x <= 1),
    target(
      'a client that stops reading 1 GB costs ≤ 10 MB',
      'stalled',
      row => median(row.values['stubgate'] ?? []),
      x => x <= 10,
    ),
  ];
}

export function targetLines(all: readonly Target[]): string {
  const word = (met: boolean | undefined): string =>
    met === undefined ? 'not measured' : met ? 'met' : 'MISSED';
  return layOut(all.map(({ text, measured, met }) => [text, figure(measured ?? Number.NaN), word(met)]));
}
