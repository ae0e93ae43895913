import { Buffer } from 'node:buffer';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, fstatSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { homedir, tmpdir } from 'node:os';
import { addAbortSignal, type Readable } from 'node:stream';
import type { Compiled } from '../../config/types.ts';
import type { Canary } from '../../proof/canary.ts';
import { searchFile, writtenSince } from '../../proof/files.ts';
import { quietly } from '../../proof/processes.ts';
import { QuickSearch } from '../../proof/quick.ts';
import { Needles, search } from '../../proof/search.ts';
import { type Watch, watchPrograms } from '../../proof/watch.ts';
import type { ProgramLeak, Unseen } from '../../proof/watched.ts';
import { execute, type Execution } from '../execute.ts';
import { addressOf, wayIn } from '../isolate/environment.ts';
import { requireIsolation } from '../isolate/run.ts';
import { isolated, keptEnvironment } from '../run.ts';
import { breakOutCommand, NOT_RUN, readBreakOuts } from './break-outs.ts';
import { canaryScene, realScene } from './scenes.ts';
import type { BreakOut, ProgramReport } from './program.ts';
import type { ProgramOptions, Scene } from './scene.ts';

/** Output that is kept to be looked at; behind it nothing is. */
const MAX_OUTPUT = 64 * 1024 * 1024;
/** Up to this it is read in every way; more of it for whole secrets in the common spellings. */
const SMALL_OUTPUT = 1024 * 1024;
/** For output that is still under way when the command has ended, ms. */
const LAST_OUTPUT_MS = 500;

/** Runs a command as a sandbox, and looks for secrets wherever it could have put them. */
export async function runProgram(options: ProgramOptions): Promise<ProgramReport> {
  const { compiled, command, args, isolate } = options;
  if (isolate) requireIsolation();
  const scene = await (options.real ? realScene(options) : canaryScene(options));
  try {
    const run = runner(options, scene);
    const breakOuts = isolate ? await breakOut(compiled, scene, run) : NOT_RUN;
    const before = { ...scene.usage() };
    const since = Date.now();
    const watch = await watchPrograms({
      canaries: scene.canaries(),
      session: scene.answer.id,
      ownFolders: isolate ? ['/tmp', '/var/tmp'] : [],
    });
    scene.onNew(canary => watch.add(canary));
    const output = new Output();
    const exitCode = await run({ command, args }, child => follow(child, watch, output));
    await output.ended();
    const watched = await watch.stop();
    const needles = new Needles(scene.canaries());
    const written = searchWritten(options, since, scene.canaries());
    const seen = new Set(watched.leaks.map(({ place }) => place));
    const { allowed, denied } = scene.usage();
    return {
      command: [command, ...args].map((word, i) => masked(word, i, needles)),
      exitCode,
      leaks: [
        ...watched.leaks,
        ...output.search(needles, new QuickSearch(scene.canaries())),
        ...written.leaks.filter(({ place }) => !seen.has(place)),
      ],
      unseen: [...didNotRun(exitCode), ...watched.unseen, ...written.unseen, ...output.unseen()],
      looked: { ...watched.looked, files: watched.looked.files + written.files, outputBytes: output.length },
      breakOuts,
      allowed: allowed - before.allowed,
      denied: denied - before.denied,
    };
  } finally {
    await scene.close();
  }
}

/** What a shell says of a command that is not there, or may not be run, proves nothing (POSIX sh). */
function didNotRun(exitCode: number): Unseen[] {
  if (exitCode !== 126 && exitCode !== 127) return [];
  return [{ what: 'the command', why: `it was not there, or could not be run: exit code ${exitCode}` }];
}

/** What is told of the command shows no secret. */
function masked(word: string, index: number, needles: Needles): string {
  const [found] = search(Buffer.from(word, 'latin1'), needles);
  return found ? `[argument ${index}: ${found.credential}]` : word;
}

type Tap = (child: ChildProcess) => void;
type Run = (what: Pick<Execution, 'command' | 'args'>, tap: Tap) => Promise<number>;

/** As `stubgate run` does it. */
function runner({ compiled, isolate, writable }: ProgramOptions, scene: Scene): Run {
  const env = { ...keptEnvironment(compiled, scene.inherited), ...scene.answer.env };
  const files = { compiled: withCa(compiled, dirname(scene.answer.ca_file)), writable };
  return (what, tap) => {
    const execution = { ...what, env, tap };
    return isolate ? isolated(execution, requireIsolation(), scene, files) : execute(execution);
  };
}

/** Where no gate has run yet there is no CA to hide. */
function withCa(compiled: Compiled, dir: string): Compiled {
  const { config } = compiled;
  return existsSync(config.ca.dir)
    ? compiled
    : { ...compiled, config: { ...config, ca: { ...config.ca, dir } } };
}

function follow(child: ChildProcess, watch: Watch, output: Output): void {
  if (child.pid !== undefined) watch.follow(child.pid);
  output.take('stdout', child.stdout as Readable, process.stderr);
  output.take('stderr', child.stderr as Readable, process.stderr);
}

async function breakOut(compiled: Compiled, { answer }: Scene, run: Run): Promise<readonly BreakOut[]> {
  const proxy = new URL(answer.proxy);
  const output: Buffer[] = [];
  let ended: Promise<unknown> = Promise.resolve();
  const files = [join(dirname(answer.ca_file), 'ca.key')];
  await run(breakOutCommand(compiled, proxy, wayIn(addressOf(proxy)), files), ({ stdout, stderr }) => {
    stderr?.pipe(process.stderr, { end: false });
    stdout?.on('data', (piece: Buffer) => output.push(piece));
    ended = stdout ? once(stdout, 'close') : ended;
  });
  await ended;
  return readBreakOuts(Buffer.concat(output).toString());
}

/** What the command prints: passed on, and kept. */
class Output {
  readonly #streams = new Map<string, Buffer[]>();
  readonly #open: Promise<unknown>[] = [];
  readonly #cut = new AbortController();
  length = 0;

  take(name: string, stream: Readable, to: NodeJS.WriteStream): void {
    const pieces: Buffer[] = [];
    this.#streams.set(name, pieces);
    addAbortSignal(this.#cut.signal, stream);
    stream.on('error', () => {});
    stream.on('data', (piece: Buffer) => {
      to.write(piece);
      this.length += piece.length;
      if (this.length <= MAX_OUTPUT) pieces.push(piece);
    });
    this.#open.push(new Promise<void>(resolve => stream.once('close', () => resolve())));
  }

  /** What the command left running may keep its output open. */
  async ended(): Promise<void> {
    const timer = setTimeout(() => this.#cut.abort(), LAST_OUTPUT_MS);
    await Promise.all(this.#open);
    clearTimeout(timer);
  }

  search(needles: Needles, quick: QuickSearch): ProgramLeak[] {
    return [...this.#streams].flatMap(([name, pieces]) => {
      const bytes = Buffer.concat(pieces);
      const leak = (found: Pick<ProgramLeak, 'credential' | 'spelling'>, where: string): ProgramLeak => ({
        credential: found.credential,
        spelling: found.spelling,
        kind: 'output',
        place: `${name}${where}`,
      });
      if (bytes.length > SMALL_OUTPUT)
        return quick.in(bytes).map(found => leak(found, `, offset ${found.offset}`));
      return search(bytes, needles).map(found => leak(found, lineOf(bytes, found.credential, needles)));
    });
  }

  unseen(): Unseen[] {
    if (this.length <= MAX_OUTPUT) return [];
    return [{ what: 'output', why: `only the first ${MAX_OUTPUT} bytes are looked at` }];
  }
}

/** `, line 3`, where one line alone holds it. */
function lineOf(bytes: Buffer, credential: string, needles: Needles): string {
  const lines = bytes.toString('latin1').split('\n');
  const line = lines.findIndex(text =>
    search(Buffer.from(text, 'latin1'), needles).some(found => found.credential === credential),
  );
  return line < 0 ? '' : `, line ${line + 1}`;
}

/** Whether this process writes something else into it than what the command printed. */
function isNoOutput(path: string): boolean {
  const stats = quietly(() => statSync(path));
  const own = [1, 2].flatMap(fd => quietly(() => fstatSync(fd)) ?? []);
  return !own.some(({ dev, ino }) => dev === stats?.dev && ino === stats.ino);
}

/** Files that were written meanwhile, where the command could write. */
function searchWritten(
  { watch, writable, isolate }: ProgramOptions,
  since: number,
  canaries: readonly Canary[],
): { leaks: ProgramLeak[]; unseen: Unseen[]; files: number } {
  const home = isolate ? [] : [process.env['HOME'] ?? homedir(), tmpdir()];
  const { files, unseen } = writtenSince([process.cwd(), ...home, ...watch, ...writable], since);
  const needles = new Needles(canaries);
  const quick = new QuickSearch(canaries);
  const leaks = files.filter(isNoOutput).flatMap(path =>
    (quietly(() => searchFile(path, needles, quick)) ?? []).map(({ offset, ...found }) => ({
      ...found,
      kind: 'file' as const,
      place: `file ${path}${offset < 0 ? '' : `, offset ${offset}`}`,
    })),
  );
  return {
    leaks,
    unseen: unseen.map(what => ({ what, why: 'its files could not be looked at' })),
    files: files.length,
  };
}
