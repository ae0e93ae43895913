/** What is done to the gate on purpose, and the errors that may follow while it lasts. */
export const FAULTS = {
  /** The HashiCorp stand-in answers 503, cuts connections, or says nothing. */
  vault: ['credential_unavailable'],
  /** Redis is stopped: sessions are refused, and end, once the grace is over. */
  redis: ['state_unavailable', 'unauthenticated', 'broken'],
  /** A worker is killed: its tunnels break, and nothing else. */
  worker: ['broken'],
  /** The old value of a secret is good no more at once: an upstream refuses it until the gate has read the new one. */
  rotation: ['upstream_401'],
} as const;

export type Fault = keyof typeof FAULTS;

interface Window {
  readonly fault: Fault;
  readonly from: number;
  to: number;
}

/** When which fault held. Times: ms since the epoch. */
export class Windows {
  readonly #windows: Window[] = [];
  readonly #counts = new Map<Fault, number>();

  /** `after`: for how long its effects may last once it is over, ms. */
  begin(fault: Fault, after: number): () => void {
    const window: Window = { fault, from: Date.now(), to: Number.POSITIVE_INFINITY };
    this.#windows.push(window);
    this.#counts.set(fault, (this.#counts.get(fault) ?? 0) + 1);
    return () => {
      window.to = Date.now() + after;
    };
  }

  /** The fault that explains an error of a request that was under way from `from` until now. */
  explains(error: string, from: number): Fault | undefined {
    return this.#windows.find(
      window => (FAULTS[window.fault] as readonly string[]).includes(error) && from <= window.to,
    )?.fault;
  }

  /** Whether a fault held lately, and the gate may tell of it. */
  has(fault: Fault): boolean {
    return this.#windows.some(window => window.fault === fault && Date.now() <= window.to);
  }

  get counts(): string {
    return Object.keys(FAULTS)
      .map(fault => `${fault} ${this.#counts.get(fault as Fault) ?? 0}`)
      .join(', ');
  }
}

interface Finding {
  count: number;
  readonly first: string;
}

/** What was wrong, told once for each kind. */
export class Findings {
  readonly #all = new Map<string, Finding>();

  add(kind: string, detail: string): void {
    const known = this.#all.get(kind);
    if (known) {
      known.count++;
      return;
    }
    const first = `${new Date().toISOString()} ${detail.slice(0, 600)}`;
    this.#all.set(kind, { count: 1, first });
    console.log(`FINDING ${kind}: ${first}`);
  }

  get size(): number {
    return this.#all.size;
  }

  lines(): string[] {
    return [...this.#all].map(([kind, { count, first }]) => `${kind} (${count} times), first: ${first}`);
  }
}
