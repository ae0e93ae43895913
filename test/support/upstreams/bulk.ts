import { createHash } from 'node:crypto';
import { startServer, type Upstream } from '../upstream.ts';

export interface BulkReceived {
  readonly bytes: number;
  /** Lower-case hex. */
  readonly sha256: string;
  readonly headers: NodeJS.Dict<string | string[]>;
}

export interface BulkUpstream extends Upstream {
  readonly uploads: readonly BulkReceived[];
  /** SHA-256 in lower-case hex of what `GET /<bytes>` gives. */
  sha256(bytes: number): string;
}

const MIB = 1 << 20;
const PATTERN = Buffer.alloc(MIB);
// Bytes of all values in no short period, the same in each run.
for (let i = 0, state = 1; i < MIB; i++) {
  state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
  PATTERN[i] = state >>> 24;
}

function* pieces(bytes: number): Generator<Buffer> {
  for (let left = bytes; left > 0; left -= MIB) yield left >= MIB ? PATTERN : PATTERN.subarray(0, left);
}

/** `GET /<bytes>`: a generated body of that length; `?chunked`: without saying so. `PUT`: counted and hashed, never kept. */
export async function startBulk(host: string): Promise<BulkUpstream> {
  const uploads: BulkReceived[] = [];
  const upstream = await startServer({ hosts: [host] }, (request, response) => {
    request.on('error', () => undefined);
    if (request.method === 'PUT' || request.method === 'POST') {
      const hash = createHash('sha256');
      let bytes = 0;
      request.on('data', (chunk: Buffer) => {
        hash.update(chunk);
        bytes += chunk.length;
      });
      request.on('end', () => {
        const received = { bytes, sha256: hash.digest('hex'), headers: request.headers };
        uploads.push(received);
        response.end(JSON.stringify({ bytes, sha256: received.sha256 }));
      });
      return;
    }
    const [path = '', query] = (request.url ?? '').split('?', 2);
    const total = Number(path.slice(1));
    const length = query === 'chunked' ? {} : { 'content-length': total };
    response.writeHead(200, { 'content-type': 'application/octet-stream', ...length });
    const source = pieces(total);
    const push = (): void => {
      for (;;) {
        const piece = source.next();
        if (piece.done === true) return void response.end();
        if (!response.write(piece.value)) return void response.once('drain', push);
      }
    };
    push();
  });
  const sha256 = (bytes: number): string => {
    const hash = createHash('sha256');
    for (const piece of pieces(bytes)) hash.update(piece);
    return hash.digest('hex');
  };
  return { ...upstream, uploads, sha256 };
}
