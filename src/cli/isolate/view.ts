/**
 * How a path looks in the sandbox.
 * `own`: an empty folder that the command may write, and that goes with it. `writable`, `readable`: the machine's.
 * `pinned`: the machine's, writable, but not to be moved. `hidden`: an empty folder. `masked`: a file that nobody can open.
 */
export type Kind = 'own' | 'writable' | 'readable' | 'pinned' | 'hidden' | 'masked';

const SYSTEM = ['--ro-bind', '/', '/', '--dev', '/dev', '--proc', '/proc'];

/** What a sandbox sees of the machine's files: all of it, read-only, except for the paths that are named. */
export class View {
  readonly #kinds = new Map<string, Kind>();

  /** `path` is absolute and free of links. What is named later counts. */
  set(path: string, kind: Kind): void {
    this.#kinds.set(path, kind);
  }

  /** Of the nearest path at or above it that is named. */
  kindOf(path: string): Kind | undefined {
    for (let at = path; ; at = parent(at)) {
      const kind = this.#kinds.get(at);
      if (kind !== undefined || at === '/') return kind;
    }
  }

  is(path: string, kind: Kind): boolean {
    return this.#kinds.get(path) === kind;
  }

  /** Whether the machine's file can be read there. */
  shows(path: string): boolean {
    if (/^\/(dev|proc)(\/|$)/.test(path)) return false;
    const kind = this.kindOf(path);
    return kind !== 'own' && kind !== 'hidden' && kind !== 'masked';
  }

  /** Whether the command may write there, to the machine's files. */
  lends(path: string): boolean {
    const kind = this.kindOf(path);
    return kind === 'writable' || kind === 'pinned';
  }

  /** A hidden folder or a masked file, in a place that the command cannot move away from under it. */
  conceal(path: string, kind: 'hidden' | 'masked'): void {
    for (let at = parent(path); this.lends(at) && this.#kinds.get(at) !== 'writable'; at = parent(at))
      this.set(at, 'pinned');
    this.set(path, kind);
  }

  /** Options of bwrap. A folder is mounted before what is in it. */
  options(): string[] {
    const named = [...this.#kinds].toSorted(([a], [b]) => depth(a) - depth(b));
    const hidden = named.filter(([, kind]) => kind === 'hidden');
    return [
      ...SYSTEM,
      ...named.flatMap(([path, kind]) => mount(path, kind)),
      ...hidden.flatMap(([path]) => ['--remount-ro', path]),
      // Some of its files, such as sys/kernel/core_pattern, are the whole machine's, and root may write them.
      '--remount-ro',
      '/proc',
    ];
  }
}

function mount(path: string, kind: Kind): string[] {
  switch (kind) {
    case 'own':
    case 'hidden':
      return ['--tmpfs', path];
    case 'writable':
    case 'pinned':
      return ['--bind', path, path];
    case 'readable':
      return ['--ro-bind', path, path];
    case 'masked':
      // No device works in such a mount: it cannot be opened.
      return ['--ro-bind', '/dev/null', path];
  }
}

const parent = (path: string): string => path.slice(0, Math.max(1, path.lastIndexOf('/')));
const depth = (path: string): number => (path === '/' ? 0 : path.split('/').length);
