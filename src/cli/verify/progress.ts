/** Between two lines where they stay, ms; in a terminal one line is written again and again. */
const SPARSE_MS = 10_000;
const TERMINAL_MS = 100;

/** Tells how far a proof has come. */
export function progressLine(stream: NodeJS.WriteStream): {
  tell(done: number, total: number): void;
  end(): void;
} {
  const every = stream.isTTY ? TERMINAL_MS : SPARSE_MS;
  let last = performance.now();
  return {
    tell: (done, total) => {
      const now = performance.now();
      if (now - last < every) return;
      last = now;
      const text = `stubgate: ${done} of ${total} probes`;
      stream.write(stream.isTTY ? `\r${text}\x1b[K` : `${text}\n`);
    },
    end: () => {
      if (stream.isTTY) stream.write('\r\x1b[K');
    },
  };
}
