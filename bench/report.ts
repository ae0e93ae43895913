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

/** Ratio within each round that both took part in, whose samples were taken one after the other. */
export function ratios(row: Row, of: string, to: string): Series {
  const [ours, theirs] = [row.values[of] ?? [], row.values[to] ?? []];
  const pairs = Math.min(ours.length, theirs.length);
  return Array.from({ length: pairs }, (_, i) => (ours[i] ?? Number.NaN) / (theirs[i] ?? Number.NaN));
}

/** The median of those. */
export function ratio(row: Row, of: string, to: string): number {
  return median(ratios(row, of, to));
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
