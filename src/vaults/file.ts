import { constants } from 'node:fs';
import { open, realpath, type FileHandle } from 'node:fs/promises';
import { isAbsolute, relative, resolve } from 'node:path';
import { z } from 'zod';
import { define } from '../registry.ts';
import type { Secret } from '../secret.ts';
import { type SecretRef, type Vault, VaultError } from '../types.ts';
import { show, toSecret } from './field.ts';

const MAX_BYTES = 65_536;

interface FileOptions {
  readonly dir?: string | undefined;
  readonly allow_mode?: string | undefined;
}

/** Files that only the gate may read; the id is a path. Read anew each time, so that a rotated file is seen. */
class FileVault implements Vault {
  readonly #dir: string | undefined;
  readonly #allowedMode: number;

  constructor(options: FileOptions) {
    this.#dir = options.dir;
    this.#allowedMode = Number.parseInt(options.allow_mode ?? '0600', 8) | 0o600;
  }

  async read(ref: SecretRef): Promise<Secret> {
    if (ref.version !== undefined) {
      throw new VaultError('missing', `${show(ref)}: a file has no versions; leave out "?version="`);
    }
    const path = await this.#locate(ref);
    // Without blocking, should it be a pipe.
    const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK).catch((error: unknown) => {
      throw asVaultError(ref, error);
    });
    try {
      return await this.#readOpen(ref, file);
    } finally {
      await file.close();
    }
  }

  /** The file itself, after every symbolic link: Kubernetes mounts a secret as one. */
  async #locate(ref: SecretRef): Promise<string> {
    const dir = this.#dir;
    if (dir === undefined && !isAbsolute(ref.id)) {
      throw new VaultError('missing', `${show(ref)}: write an absolute path, or give the vault a "dir"`);
    }
    try {
      if (dir === undefined) return await realpath(ref.id);
      const [root, path] = await Promise.all([realpath(dir), realpath(resolve(dir, ref.id))]);
      if (isInside(root, path)) return path;
    } catch (error) {
      throw asVaultError(ref, error);
    }
    throw new VaultError('missing', `${show(ref)}: the file is outside the vault's "dir"; move it there`);
  }

  /** Checks and reads one open file, so that nobody can swap it in between. */
  async #readOpen(ref: SecretRef, file: FileHandle): Promise<Secret> {
    const stat = await file.stat();
    const mode = stat.mode & 0o777;
    if (!stat.isFile()) throw new VaultError('missing', `${show(ref)} is not a regular file`);
    if ((mode & ~this.#allowedMode) !== 0) {
      throw new VaultError(
        'missing',
        `${show(ref)} has mode ${octal(mode)}, wider than ${octal(this.#allowedMode)}: chmod 600 it, or set the vault's "allow_mode"`,
      );
    }
    const buffer = Buffer.alloc(MAX_BYTES + 1);
    const { bytesRead } = await file.read(buffer, 0, buffer.length, 0);
    if (bytesRead > MAX_BYTES) {
      throw new VaultError('missing', `${show(ref)} is larger than ${MAX_BYTES} bytes`);
    }
    return toSecret(ref, buffer.subarray(0, bytesRead), stat.mtime.toISOString());
  }
}

function isInside(root: string, path: string): boolean {
  const way = relative(root, path);
  return way !== '' && way !== '..' && !way.startsWith('../') && !isAbsolute(way);
}

function octal(mode: number): string {
  return mode.toString(8).padStart(4, '0');
}

function asVaultError(ref: SecretRef, thrown: unknown): VaultError {
  const { code, message } = thrown as NodeJS.ErrnoException;
  const missing = code === 'ENOENT' || code === 'ENOTDIR' || code === 'ELOOP';
  return new VaultError(missing ? 'missing' : 'unavailable', `${show(ref)}: ${message}`, thrown);
}

export const file = define({
  type: 'file',
  summary: 'Files that only the gate may read; the id is a path',
  schema: z.strictObject({
    dir: z.string().min(1).optional(),
    allow_mode: z
      .string()
      .regex(/^0[0-7]{3}$/, 'must be a quoted octal mode, such as "0640"')
      .refine(
        mode => (Number.parseInt(mode, 8) & ~0o644) === 0,
        'may add no more than reading: "0640" or "0644"',
      )
      .optional(),
  }),
  build: (options): Vault => new FileVault(options),
});
