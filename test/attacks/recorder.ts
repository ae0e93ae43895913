import type { Peer } from '../support/peer.ts';
import { type RawOptions, type RawUpstream, startRaw } from '../support/upstream.ts';

/** Longer than any test: a connection that waits in the gate's pool is not given up. */
const PATIENCE_MS = 300_000;

/** Bytes, or pieces that each go out in a packet and a TLS record of their own, or a script. */
export type Answer =
  | string
  | Buffer
  | readonly (string | Buffer)[]
  | ((peer: Peer, request: string) => Promise<void> | void);

export const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';

/** What an upstream had received at some moment. */
interface Mark {
  readonly chunks: number;
  readonly connections: number;
}

/** An upstream that keeps every byte and answers each request as the case under test wants it to. */
export interface Recorder extends RawUpstream {
  /** To every request but those for /good. */
  answer: Answer;
  mark(): Mark;
  /** Every byte received since then, in order of arrival. */
  since(mark: Mark): string;
  /** Connections opened since then. */
  openedSince(mark: Mark): number;
}

export async function startRecorder(options: RawOptions): Promise<Recorder> {
  const chunks: Buffer[] = [];
  const raw = await startRaw(options, async peer => {
    peer.socket.setNoDelay(true);
    peer.socket.on('data', (chunk: Buffer) => chunks.push(chunk));
    for (;;) {
      const request = await readRequest(peer);
      await give(peer, request, request.startsWith('GET /good ') ? OK : recorder.answer);
    }
  });
  const recorder: Recorder = {
    ...raw,
    answer: OK,
    mark: () => ({ chunks: chunks.length, connections: raw.connections.length }),
    since: mark => Buffer.concat(chunks.slice(mark.chunks)).toString('latin1'),
    openedSince: mark => raw.connections.length - mark.connections,
  };
  return recorder;
}

async function give(peer: Peer, request: string, answer: Answer): Promise<void> {
  if (typeof answer === 'function') await answer(peer, request);
  else if (typeof answer === 'string' || Buffer.isBuffer(answer)) await peer.send(answer);
  else
    for (const piece of answer as readonly (string | Buffer)[]) {
      await peer.send(piece);
      await new Promise(resolve => setImmediate(resolve));
    }
}

/** One request, its body as it stands on the wire. */
async function readRequest(peer: Peer): Promise<string> {
  const head = await peer.head(PATIENCE_MS);
  const length = /^content-length: (\d+)\r$/im.exec(head)?.[1];
  if (length !== undefined) return head + (await peer.bytes(Number(length), PATIENCE_MS)).toString('latin1');
  if (!/^transfer-encoding:/im.test(head)) return head;
  let body = '';
  for (;;) {
    const line = (await peer.until('\r\n', PATIENCE_MS)).toString('latin1');
    body += line;
    const size = Number.parseInt(line, 16);
    if (size === 0) return head + body + (await peer.until('\r\n', PATIENCE_MS)).toString('latin1');
    body += (await peer.bytes(size + 2, PATIENCE_MS)).toString('latin1');
  }
}
