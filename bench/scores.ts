import type { Row } from './report.ts';

export const note = (text: string): void => void process.stderr.write(`${text}\n`);
export const reason = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/** All that was measured, and what could not be. */
export class Scores {
  readonly invalid: string[] = [];
  readonly #rows = new Map<string, Row & { values: Record<string, number[]> }>();

  get rows(): Row[] {
    return [...this.#rows.values()];
  }

  /** One value of a peer; NaN for an invalid sample, so that rounds stay in step. */
  add({ key, label, better }: Omit<Row, 'values'>, peer: string, value: number): void {
    const row = this.#rows.get(key) ?? { key, label, better, values: {} };
    (row.values[peer] ??= []).push(value);
    this.#rows.set(key, row);
    note(`  ${peer.padEnd(16)} ${label.padEnd(45)} ${value.toFixed(1).padStart(10)}`);
  }

  fail(peer: string, what: string, error: unknown): void {
    this.invalid.push(`${peer}, ${what}: ${reason(error)}`);
    note(`  ${peer.padEnd(16)} INVALID: ${reason(error)}`);
  }
}
