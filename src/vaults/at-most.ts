import { VaultError } from '../types.ts';

/** Settles with the work, or after so many ms, which ends nothing of it. Never rejects. */
export async function atMost(ms: number, work: Promise<unknown>): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, ms);
  await Promise.race([promise, work.catch(() => {})]);
  clearTimeout(timer);
}

/** Settles with the work, or when the signal says so. Never rejects. */
export async function until(signal: AbortSignal, work: Promise<unknown>): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const stop = (): void => resolve();
  if (signal.aborted) stop();
  signal.addEventListener('abort', stop, { once: true });
  await Promise.race([promise, work.catch(() => {})]);
  signal.removeEventListener('abort', stop);
}

/** What others may wait for too. Throws VaultError when the signal says so. */
export async function within<T>(
  signal: AbortSignal,
  shared: Promise<T>,
  advice = 'check that the servers are up',
): Promise<T> {
  const { promise, reject } = Promise.withResolvers<never>();
  const late = () => reject(new VaultError('unavailable', `there was no answer in time; ${advice}`));
  if (signal.aborted) late();
  signal.addEventListener('abort', late, { once: true });
  try {
    return await Promise.race([promise, shared]);
  } finally {
    signal.removeEventListener('abort', late);
  }
}
