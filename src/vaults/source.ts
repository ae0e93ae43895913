import { open } from 'node:fs/promises';
import { z } from 'zod';
import { VaultError } from '../types.ts';

const MAX_BYTES = 65_536;
/** What a header can carry, and tokens and ids are made of. */
const PLAIN = /^[\x21-\x7e]+$/;

/** Where a vault's own credential is: never in the configuration. */
export interface Source {
  /** The option's name, for errors, such as `token`. */
  readonly name: string;
  readonly file?: string | undefined;
  readonly env?: string | undefined;
  /** The file may be read by everybody, as Kubernetes mounts them. */
  readonly shared?: boolean;
}

/** The credential as it is now, read anew each time so that a rotated one is seen. Throws VaultError without it. */
export async function readSource(source: Source): Promise<string> {
  const { name, file, env } = source;
  const text = (file === undefined ? readVariable(name, env ?? '') : await readPlain(source, file)).trim();
  if (PLAIN.test(text)) return text;
  const where = file === undefined ? `"${name}_env"` : `"${name}_file"`;
  throw new VaultError('unavailable', `what ${where} names is not one line of ASCII text; store it again`);
}

function readVariable(name: string, variable: string): string {
  const value = Object.hasOwn(process.env, variable) ? process.env[variable] : undefined;
  if (value !== undefined && value !== '') return value;
  throw new VaultError(
    'unavailable',
    `the variable ${variable} ("${name}_env") is not set; set it where the gate starts`,
  );
}

async function readPlain({ name, shared }: Source, path: string): Promise<string> {
  const fault = (what: string) => new VaultError('unavailable', `the file in "${name}_file" ${what}`);
  const file = await open(path).catch((error: NodeJS.ErrnoException) => {
    throw fault(`cannot be read (${error.code}); check the path`);
  });
  try {
    const stat = await file.stat();
    if (!stat.isFile()) throw fault('is not a regular file');
    if (!shared && (stat.mode & 0o007) !== 0) throw fault('is open to everybody; chmod 600 it');
    const buffer = Buffer.alloc(MAX_BYTES + 1);
    const { bytesRead } = await file.read(buffer, 0, buffer.length, 0);
    if (bytesRead > MAX_BYTES) throw fault(`is larger than ${MAX_BYTES} bytes`);
    return buffer.toString('latin1', 0, bytesRead);
  } finally {
    await file.close();
  }
}

/** A file of several lines, such as a PEM file, with the same care. Throws VaultError. */
export function readFileSource(source: Source & { readonly file: string }): Promise<string> {
  return readPlain(source, source.file);
}

/** Options that name a variable. */
export const variable = () =>
  z
    .string()
    .regex(
      /^[A-Za-z_][A-Za-z0-9_]{0,127}$/,
      'is not the name of an environment variable; write one such as VAULT_TOKEN',
    );

export const filePath = () =>
  z.string().regex(/^[^\0]+$/, 'is empty or holds a NUL; write the path of a file');

/** Whether exactly one of the keys is there. */
export const oneOf =
  (...keys: readonly string[]) =>
  (options: object): boolean =>
    keys.filter(key => (options as Record<string, unknown>)[key] !== undefined).length === 1;

/** The address of a vault's server: https, or http on loopback, and nothing behind the port. */
export const serverAddress = () =>
  z.string().superRefine((text, context) => {
    const message = addressFault(text);
    if (message !== undefined) context.addIssue({ code: 'custom', message });
  });

function addressFault(text: string): string | undefined {
  const url = URL.parse(text);
  if (!url || !/^https?:$/.test(url.protocol)) return 'is not an address; write https://host:port';
  if (url.username !== '' || url.password !== '' || url.pathname !== '/' || url.search + url.hash !== '')
    return 'holds more than an address; write https://host:port alone';
  const isLoopback = /^(localhost|127(\.\d{1,3}){3}|\[::1\])$/.test(url.hostname);
  if (url.protocol === 'https:' || isLoopback) return undefined;
  return 'is plain http, which carries secrets in the open; write https://, or an address on loopback';
}
