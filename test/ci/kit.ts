import { spawn } from 'node:child_process';
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { MAIN, quickly } from '../cli/stubgate.ts';
import { tempFolder } from '../support/temp.ts';

const examples = fileURLToPath(new URL('../../examples/ci/', import.meta.url));
const TRY = join(examples, 'try.mjs');
export const ACTION = join(examples, 'github/action.yml');
export const GITLAB = join(examples, 'gitlab/stubgate.gitlab-ci.yml');
export const HOOK = join(examples, 'pre-commit/hook.sh');

/** How the kits call this stubgate. */
export const STUBGATE = `${process.execPath} ${MAIN}`;

export interface Done {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export type Env = Readonly<Record<string, string>>;

export function run(cwd: string, env: Env, command: string, ...args: string[]): Promise<Done> {
  const path = `${join(cwd, 'bin')}:${process.env['PATH']}`;
  const child = spawn(command, args, {
    cwd,
    env: { HOME: cwd, PATH: path, GIT_CONFIG_NOSYSTEM: '1', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', code => resolve({ code, stdout, stderr }));
  });
}

export interface Acted extends Done {
  readonly outputs: Readonly<Record<string, string>>;
  readonly env: Readonly<Record<string, string>>;
  readonly summary: string;
}

/** The steps of the composite action. */
export async function act(cwd: string, inputs: Env, env: Env = {}): Promise<Acted> {
  const given = Object.entries(inputs).map(([name, value]) => `${name}=${value}`);
  const done = await run(cwd, env, process.execPath, TRY, ACTION, ...given);
  if (!done.stdout.startsWith('{')) throw new Error(`the action did not end: ${done.stderr}`);
  return { ...done, ...(JSON.parse(done.stdout) as Pick<Acted, 'outputs' | 'env' | 'summary'>) };
}

export const job = (cwd: string, name: string, env: Env): Promise<Done> =>
  run(cwd, env, process.execPath, TRY, GITLAB, name);

/** Verbs that this build has. */
export async function verbs(): Promise<ReadonlySet<string>> {
  const { stdout } = await quickly(tempFolder('kit'), '--help');
  return new Set([...stdout.matchAll(/^ {2}([a-z]+) /gm)].map(([, verb]) => verb ?? ''));
}

export const POLICY = `version: 1
listen: { proxy: 127.0.0.1:0, admin: "unix:./admin.sock" }
credentials:
  tok: { from: "env:TOK", stub: { env: TOKEN } }
rules:
  - name: api
    hosts: [api.kit.test]
    methods: [GET]
    paths: [/user]
    inject: [{ credential: tok, as: bearer }]
`;
export const WIDER = POLICY.replace('[GET]', '[GET, POST]');
const CASES = `version: 1
cases:
  - request: GET https://api.kit.test/user
    expect: { verdict: allow, rule: api }
`;

/** A repository whose `origin/main` has POLICY, and whose working tree has `now`. */
export async function repository(now = POLICY): Promise<string> {
  const cwd = tempFolder('kit');
  mkdirSync(join(cwd, 'bin'));
  mkdirSync(join(cwd, 'temp'));
  const git = (...args: string[]) =>
    run(cwd, {}, 'git', '-c', 'user.name=t', '-c', 'user.email=t@t.test', ...args);
  writeFileSync(join(cwd, 'stubgate.yaml'), POLICY);
  writeFileSync(join(cwd, 'stubgate.cases.yaml'), CASES);
  writeFileSync(join(cwd, '.gitignore'), '*\n!stubgate*.yaml\n');
  for (const args of [
    ['init', '-q', '-b', 'main'],
    ['add', 'stubgate.yaml', 'stubgate.cases.yaml'],
    ['commit', '-qm', 'x'],
    ['update-ref', 'refs/remotes/origin/main', 'HEAD'],
  ]) {
    const { code, stderr } = await git(...args);
    if (code !== 0) throw new Error(stderr);
  }
  writeFileSync(join(cwd, 'stubgate.yaml'), now);
  return cwd;
}

/** A program in the folder's `bin`. */
export function program(cwd: string, name: string, script: string): void {
  const file = join(cwd, 'bin', name);
  writeFileSync(file, `#!/bin/sh\n${script}\n`);
  chmodSync(file, 0o755);
}
