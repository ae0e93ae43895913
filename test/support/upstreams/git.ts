import { spawn } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import type { ServerResponse } from 'node:http';
import { dirname, join } from 'node:path';
import { cleanEnv, gitHttpBackend, runOk } from '../clients.ts';
import { tempFolder } from '../temp.ts';
import { type HttpUpstream, type Received, startHttp } from '../upstream.ts';
import { basicOf } from './basic.ts';

export interface GitUpstream extends HttpUpstream {
  /** Commit at the tip of `main` in a repository such as `acme/hello.git`. */
  tip(repository: string): Promise<string>;
}

export interface GitOptions {
  host: string;
  /** `user:password` that the repositories ask for. */
  credential: string;
  /** Paths below the root, such as `acme/hello.git`; each starts with one commit of a README. */
  repositories: readonly string[];
}

const identity = ['-c', 'user.name=Test', '-c', 'user.email=test@example.com'];

async function createRepository(path: string): Promise<void> {
  const env = cleanEnv();
  const work = tempFolder('git-work');
  const git = (cwd: string, ...args: string[]): Promise<unknown> => runOk('git', args, { env, cwd });
  mkdirSync(dirname(path), { recursive: true });
  await git(work, 'init', '-q', '-b', 'main');
  writeFileSync(join(work, 'README'), 'hello from upstream\n');
  await git(work, 'add', '.');
  await git(work, ...identity, 'commit', '-q', '-m', 'first');
  await git(work, 'clone', '-q', '--bare', work, path);
  await git(path, 'config', 'http.receivepack', 'true');
}

/** The answer of a CGI program (RFC 3875, section 6): a head of its own, then the body. */
function answerCgi(output: Buffer, response: ServerResponse): void {
  const end = output.indexOf('\r\n\r\n');
  let status = 200;
  for (const line of output.subarray(0, end).toString('latin1').split('\r\n')) {
    const colon = line.indexOf(':');
    const name = line.slice(0, colon);
    const value = line.slice(colon + 1).trim();
    if (name.toLowerCase() === 'status') status = Number.parseInt(value, 10);
    else response.setHeader(name, value);
  }
  response.writeHead(status);
  response.end(output.subarray(end + 4));
}

function backend(program: string, root: string, request: Received, response: ServerResponse): void {
  const [path = '', query = ''] = request.url.split('?', 2);
  const header = (name: string): string => String(request.headers[name] ?? '');
  const child = spawn(program, {
    stdio: ['pipe', 'pipe', 'ignore'],
    env: {
      GIT_PROJECT_ROOT: root,
      GIT_HTTP_EXPORT_ALL: '1',
      // The repositories are this process's own, whoever runs it.
      GIT_CONFIG_COUNT: '1',
      GIT_CONFIG_KEY_0: 'safe.directory',
      GIT_CONFIG_VALUE_0: '*',
      PATH: process.env['PATH'] ?? '',
      PATH_INFO: decodeURIComponent(path),
      QUERY_STRING: query,
      REQUEST_METHOD: request.method,
      CONTENT_TYPE: header('content-type'),
      CONTENT_LENGTH: String(request.body.length),
      HTTP_CONTENT_ENCODING: header('content-encoding'),
      GIT_PROTOCOL: header('git-protocol'),
      REMOTE_USER: 'test',
      REMOTE_ADDR: '127.0.0.1',
    },
  });
  const output: Buffer[] = [];
  child.stdin.on('error', () => undefined);
  child.stdout.on('data', (chunk: Buffer) => output.push(chunk));
  child.on('close', () => answerCgi(Buffer.concat(output), response));
  child.stdin.end(request.body);
}

/** git's own server behind https: 401 until the credential comes, for reading and for pushing. */
export async function startGit(options: GitOptions): Promise<GitUpstream> {
  const root = tempFolder('git');
  const program = gitHttpBackend();
  if (program === undefined) throw new Error('git-http-backend is missing');
  for (const repository of options.repositories) await createRepository(join(root, repository));
  const upstream = await startHttp({ hosts: [options.host] }, (request, response) => {
    if (basicOf(request) === options.credential) return backend(program, root, request, response);
    response.writeHead(401, { 'www-authenticate': 'Basic realm="git"', 'content-type': 'text/plain' });
    response.end('authentication required\n');
  });
  return {
    ...upstream,
    tip: async repository => {
      const path = join(root, repository);
      const ran = await runOk('git', ['rev-parse', 'main'], { env: cleanEnv(), cwd: path });
      return ran.stdout.trim();
    },
  };
}
