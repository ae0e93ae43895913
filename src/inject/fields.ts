import type { OutboundHead } from '../types.ts';
import type { Secret } from '../secret.ts';

/** Values of the header fields called `name` (lower case) that hold no secret yet, in wire order. */
export function fieldValues(out: OutboundHead, name: string): string[] {
  const values: string[] = [];
  const { headers } = out;
  for (let i = 0; i < headers.length; i += 2) {
    const value = headers[i + 1];
    if (typeof value === 'string' && isNamed(headers[i], name)) values.push(value);
  }
  return values;
}

/** A value that is not in a placement's form: it stands there, but can be no stub, as no field value begins with a space. */
export function unreadable(value: string): string {
  return ` ${value}`;
}

/** Sets the field `name` to one value: the first one keeps its place and its spelling, further ones are removed. */
export function setField(out: OutboundHead, name: string, value: string | Secret): void {
  const { headers } = out;
  const wanted = name.toLowerCase();
  let kept = 0;
  let isSet = false;
  for (let i = 0; i < headers.length; i += 2) {
    const field = headers[i] as string;
    const matches = isNamed(field, wanted);
    if (matches && isSet) continue;
    headers[kept++] = field;
    headers[kept++] = matches ? value : (headers[i + 1] as string | Secret);
    isSet ||= matches;
  }
  headers.length = kept;
  if (!isSet) headers.push(name, value);
}

function isNamed(field: string | Secret | undefined, lowerCase: string): boolean {
  return typeof field === 'string' && field.length === lowerCase.length && field.toLowerCase() === lowerCase;
}

/** Takes out all fields of these lower-case names. */
export function removeFields({ headers }: OutboundHead, names: ReadonlySet<string>): void {
  let kept = 0;
  for (let i = 0; i < headers.length; i += 2) {
    const field = headers[i] as string;
    if (names.has(field.toLowerCase())) continue;
    headers[kept++] = field;
    headers[kept++] = headers[i + 1] as string | Secret;
  }
  headers.length = kept;
}
