const UNIT_BYTES = { B: 1, KiB: 1024, MiB: 1024 ** 2, GiB: 1024 ** 3 } as const;

/** `512B`, `32KiB`, `1MiB`, `1GiB`, in bytes. */
export function parseSize(text: string): number | undefined {
  const [, count, unit] = /^([1-9]\d{0,9})(B|KiB|MiB|GiB)$/.exec(text) ?? [];
  const size = Number(count) * UNIT_BYTES[unit as keyof typeof UNIT_BYTES];
  return Number.isSafeInteger(size) ? size : undefined;
}
