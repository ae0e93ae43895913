import type { Field } from './hpack.ts';

export interface H1Request {
  readonly method: string;
  readonly path: string;
  /** Names as they came. */
  readonly fields: readonly Field[];
  readonly body: Buffer;
  readonly isEnded: boolean;
}

/** What one connection said to an HTTP/1.1 server. */
export interface H1Reading {
  readonly requests: readonly H1Request[];
  /** Why nothing more can be read. */
  readonly broken: string | undefined;
}

const HEAD_END = '\r\n\r\n';

/** Reads requests by RFC 9112, strictly: anything that two servers might read differently breaks it. */
export function readH1(bytes: Buffer): H1Reading {
  const requests: H1Request[] = [];
  let at = 0;
  try {
    while (at < bytes.length) {
      const end = bytes.indexOf(HEAD_END, at, 'latin1');
      if (end < 0) return { requests, broken: undefined };
      const head = headOf(bytes.toString('latin1', at, end));
      const { body, isEnded, next } = bodyOf(bytes, end + HEAD_END.length, head.fields);
      requests.push({ ...head, body, isEnded });
      if (!isEnded) return { requests, broken: undefined };
      at = next;
    }
  } catch (error) {
    return { requests, broken: (error as Error).message };
  }
  return { requests, broken: undefined };
}

function headOf(text: string): Pick<H1Request, 'method' | 'path' | 'fields'> {
  const [line = '', ...lines] = text.split('\r\n');
  if (/[\0\r\n]/.test(line + lines.join(''))) throw new Error(`a stray control in ${JSON.stringify(text)}`);
  const start = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([\x21-\x7e]+) HTTP\/1\.1$/.exec(line);
  if (!start) throw new Error(`no request line: ${JSON.stringify(line)}`);
  const fields = lines.map((one): Field => {
    const field = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+): ?(.*)$/.exec(one);
    if (!field) throw new Error(`no field: ${JSON.stringify(one)}`);
    return [field[1] as string, field[2] as string];
  });
  return { method: start[1] as string, path: start[2] as string, fields };
}

interface Body {
  readonly body: Buffer;
  readonly isEnded: boolean;
  /** Where the next request starts. */
  readonly next: number;
}

function bodyOf(bytes: Buffer, from: number, fields: readonly Field[]): Body {
  const values = (name: string): string[] =>
    fields.filter(field => field[0].toLowerCase() === name).map(field => field[1]);
  const [length, coding] = [values('content-length'), values('transfer-encoding')];
  if (length.length + coding.length > 1) throw new Error('framed twice');
  if (coding.length > 0) {
    if (coding[0] !== 'chunked') throw new Error(`a coding ${coding[0]}`);
    return chunks(bytes, from);
  }
  if (length.length > 0 && !/^\d{1,9}$/.test(length[0] as string)) throw new Error(`a length ${length[0]}`);
  const end = from + Number(length[0] ?? 0);
  return { body: bytes.subarray(from, end), isEnded: end <= bytes.length, next: end };
}

function chunks(bytes: Buffer, from: number): Body {
  const parts: Buffer[] = [];
  let at = from;
  const open = (): Body => ({ body: Buffer.concat(parts), isEnded: false, next: at });
  for (;;) {
    const lineEnd = bytes.indexOf('\r\n', at, 'latin1');
    if (lineEnd < 0) return open();
    const line = bytes.toString('latin1', at, lineEnd);
    if (!/^[0-9a-fA-F]{1,8}$/.test(line)) throw new Error(`a chunk size ${JSON.stringify(line)}`);
    const size = Number.parseInt(line, 16);
    const start = lineEnd + 2;
    parts.push(bytes.subarray(start, start + size));
    if (bytes.length < start + size + 2) return open();
    if (bytes.toString('latin1', start + size, start + size + 2) !== '\r\n')
      throw new Error('a chunk without end');
    at = start + size + 2;
    if (size === 0) return { body: Buffer.concat(parts), isEnded: true, next: at };
  }
}
