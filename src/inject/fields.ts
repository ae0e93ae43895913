import { isNamed, type Names } from '../fields.ts';
import type { OutboundHead } from '../types.ts';
import type { Secret } from '../secret.ts';

/** Values of the header fields called `name` (lower case) that hold no secret yet, in wire order. */
export function fieldValues(out: OutboundHead, name: string): string[] {
  const values: string[] = [];
  const { headers } = out;
  for (let i = 0; i < headers.length; i += 2) {
    const value = headers[i + 1];
    if (typeof value === 'string' && isNamed(headers[i] as string, name)) values.push(value);
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
  let isSet = false;
  for (let i = 0; i < headers.length; i += 2) {
    if (!isNamed(headers[i] as string, wanted)) continue;
    if (isSet) {
      headers.splice(i, 2);
      i -= 2;
    } else {
      headers[i + 1] = value;
      isSet = true;
    }
  }
  if (!isSet) headers.push(name, value);
}

/** Takes out all fields of these names. */
export function removeFields({ headers }: OutboundHead, names: Names): void {
  for (let i = headers.length - 2; i >= 0; i -= 2) if (names.has(headers[i] as string)) headers.splice(i, 2);
}
