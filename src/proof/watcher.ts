/** The thread that looks at a program's processes while it runs. `workerData`: WatchOrder. */
import { type Stats, statSync } from 'node:fs';
import { parentPort, type MessagePort, workerData } from 'node:worker_threads';
import type { Canary } from './canary.ts';
import { searchFile, writtenSince } from './files.ts';
import { type InMemory, searchMemory } from './memory.ts';
import {
  argumentsOf,
  commandOf,
  descendants,
  environmentOf,
  innermost,
  isAlive,
  openFiles,
  type Process,
  processes,
  quietly,
} from './processes.ts';
import { QuickSearch } from './quick.ts';
import { Needles, search } from './search.ts';
import { STOP, type WatchOrder } from './watch.ts';
import type { Looked, ProgramLeak, Unseen, Watched } from './watched.ts';

/** From one look at the processes to the next one, ms. */
const EVERY_MS = 50;
/** From one look through a process's memory to the next one, ms; a new process is looked at soon, and again. */
const MEMORY_MS = 300;
/** Bytes of memory between two looks at the processes. */
const BUDGET = 64 * 1024 * 1024;

class Watcher {
  readonly roots = new Set<number>();
  readonly #order: WatchOrder;
  #canaries: readonly Canary[];
  #needles: Needles;
  #quick: QuickSearch;
  readonly #leaks = new Map<string, ProgramLeak>();
  readonly #unseen = new Map<string, Unseen>();
  readonly #looked: Looked = { processes: 0, samples: 0, memoryBytes: 0, files: 0 };
  /** By pid: whether it is the sandbox's, which its environment tells once it is nobody's child. */
  readonly #ours = new Map<number, boolean>();
  readonly #commands = new Map<number, string>();
  readonly #files = new Set<string>();
  readonly #since = Date.now();
  #foldersAt = 0;
  /** When memory was looked through last, by pid. */
  readonly #memory = new Map<number, number>();

  constructor(order: WatchOrder) {
    this.#order = order;
    this.#canaries = order.canaries;
    this.#needles = new Needles(order.canaries);
    this.#quick = new QuickSearch(order.canaries);
  }

  result(): Watched {
    return { leaks: [...this.#leaks.values()], unseen: [...this.#unseen.values()], looked: this.#looked };
  }

  add(canary: Canary): void {
    this.#canaries = [...this.#canaries, canary];
    this.#needles = new Needles(this.#canaries);
    this.#quick = new QuickSearch(this.#canaries);
  }

  /** One look. */
  look(): void {
    this.#looked.samples++;
    const ours = this.#sandbox();
    for (const process of ours) {
      this.#started(process);
      for (const { link, path, stats } of openFiles(process.pid))
        this.#lookInto({ path: link, stats }, `${nameOf(process)}: its open file ${path}`);
    }
    this.#lookThroughMemory(ours);
    this.#lookThroughFolders(ours);
  }

  /** As the processes see them (proc_pid_root(5)). Numbers of processes tell no order: they begin anew at some time. */
  #lookThroughFolders(ours: readonly Process[]): void {
    const now = performance.now();
    if (now - this.#foldersAt < MEMORY_MS) return;
    const inside = innermost(ours.filter(({ pid }) => isAlive(pid)));
    if (!inside) return;
    this.#foldersAt = now;
    const root = `/proc/${inside.pid}/root`;
    const folders = this.#order.ownFolders.map(folder => `${root}${folder}`);
    for (const path of writtenSince(folders, this.#since).files) {
      const stats = quietly(() => statSync(path));
      if (stats) this.#lookInto({ path, stats }, `file ${path.slice(root.length)} of the sandbox`);
    }
  }

  /** A file, again whenever it was written. */
  #lookInto({ path, stats }: { path: string; stats: Stats }, place: string): void {
    const { dev, ino, mtimeMs, size } = stats;
    const id = `${dev} ${ino} ${mtimeMs} ${size}`;
    if (this.#files.has(id)) return;
    this.#files.add(id);
    this.#looked.files++;
    for (const { offset, ...one } of quietly(() => searchFile(path, this.#needles, this.#quick)) ?? [])
      this.#leak({ ...one, kind: 'file', place: `${place}${offset < 0 ? '' : `, offset ${offset}`}` });
  }

  /** The command's processes, and those that left it. */
  #sandbox(): Process[] {
    const all = processes();
    const below = new Set(descendants(all, this.roots).map(({ pid }) => pid));
    const ours = all.filter(({ pid }) => this.roots.has(pid) || below.has(pid) || this.#isMarked(pid));
    this.#looked.processes = this.#commands.size;
    return ours;
  }

  #isMarked(pid: number): boolean {
    const known = this.#ours.get(pid);
    if (known !== undefined) return known;
    const isOurs = quietly(() => environmentOf(pid))?.some(one => one.includes(this.#order.session)) ?? false;
    this.#ours.set(pid, isOurs);
    return isOurs;
  }

  /** Environment and command line, again whenever another program runs in the process. */
  #started(process: Process): void {
    const { pid } = process;
    const command = quietly(() => argumentsOf(pid));
    const environment = quietly(() => environmentOf(pid));
    const key = JSON.stringify([command, environment]);
    if (!command || this.#commands.get(pid) === key) return;
    this.#commands.set(pid, key);
    const name = nameOf({ ...process, name: commandOf(pid) ?? process.name });
    for (const [i, argument] of command.entries())
      this.#lookAt(argument, 'command line', `${name}: argument ${i}`);
    for (const one of environment ?? [])
      this.#lookAt(one, 'environment', `${name}: variable ${one.split('=', 1)[0]}`);
    if (!environment) this.#cannot(process, 'its environment may not be read');
  }

  #lookThroughMemory(ours: readonly Process[]): void {
    const now = performance.now();
    const last = (pid: number): number => this.#memory.get(pid) ?? -Infinity;
    const due = ours
      .filter(({ pid }) => now - last(pid) >= MEMORY_MS)
      .toSorted((a, b) => last(a.pid) - last(b.pid));
    let budget = BUDGET;
    for (const process of due) {
      if (budget <= 0) break;
      this.#memory.set(process.pid, now);
      try {
        for (const { bytes, found } of searchMemory(process.pid, this.#quick)) {
          budget -= bytes;
          this.#looked.memoryBytes += bytes;
          for (const one of found) this.#leakInMemory(process, one);
        }
      } catch (thrown) {
        const { code } = thrown as NodeJS.ErrnoException;
        if (code === 'EACCES' || code === 'EPERM') this.#cannot(process, 'its memory may not be read');
      }
    }
  }

  #leakInMemory(process: Process, { credential, spelling, address, region }: InMemory): void {
    const place = `${nameOf(process)}: memory, ${region}`;
    const key = `${place} ${credential} ${spelling}`;
    if (this.#leaks.has(key)) return;
    this.#leaks.set(key, {
      credential,
      spelling,
      kind: 'memory',
      place: `${place}, at 0x${address.toString(16)}`,
    });
  }

  #lookAt(text: string, kind: ProgramLeak['kind'], place: string): void {
    for (const found of search(Buffer.from(text, 'latin1'), this.#needles))
      this.#leak({ ...found, kind, place });
  }

  #leak(leak: ProgramLeak): void {
    this.#leaks.set(`${leak.place} ${leak.credential} ${leak.spelling}`, leak);
  }

  #cannot(process: Process, why: string): void {
    // One that ended has nothing left to look at.
    if (!isAlive(process.pid)) return;
    this.#unseen.set(`${process.pid} ${why}`, { what: nameOf(process), why });
  }
}

const nameOf = ({ pid, name }: Process): string => `process ${pid} (${name})`;

const port = parentPort as MessagePort;
const watcher = new Watcher(workerData as WatchOrder);
const timer = setInterval(() => watcher.look(), EVERY_MS);
port.on('message', (message: number | Canary | typeof STOP) => {
  if (typeof message === 'number') watcher.roots.add(message);
  else if (message !== STOP) watcher.add(message);
  watcher.look();
  if (message !== STOP) return;
  clearInterval(timer);
  port.postMessage(watcher.result());
  port.close();
});
port.postMessage('ready');
