/** A mapping of a file whose form was not checked. */
export type Mapping = Readonly<Record<string, unknown>>;

/** The value if it is a mapping, else an empty one: what a check cannot read, the schema has told already. */
export function mapping(value: unknown): Mapping {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Mapping) : {};
}

export function items(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

export function texts(value: unknown): readonly string[] {
  return items(value).filter(item => typeof item === 'string');
}

const INJECTION_KEYS: ReadonlySet<string> = new Set(['as', 'credential', 'when', 'required', 'foreign']);

/** The keys of an inject entry that its placement reads. */
export function placementOptions(entry: Mapping): Mapping {
  return Object.fromEntries(Object.entries(entry).filter(([key]) => !INJECTION_KEYS.has(key)));
}

const CAPTURE_KEYS: ReadonlySet<string> = new Set(['at', 'credential', 'ttl']);

/** The keys of a capture entry that its place reads. */
export function captureOptions(entry: Mapping): Mapping {
  return Object.fromEntries(Object.entries(entry).filter(([key]) => !CAPTURE_KEYS.has(key)));
}
