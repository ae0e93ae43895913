import { spawn, spawnSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Env } from './clients.ts';
import { tempFolder } from './temp.ts';

export interface Page {
  /** The value of a JavaScript expression in the page, awaited. */
  evaluate(expression: string): Promise<unknown>;
  close(): Promise<void>;
}

interface Told {
  readonly id?: number;
  readonly method?: string;
  readonly params?: { readonly requestId?: string };
  readonly sessionId?: string;
  readonly result?: Readonly<Record<string, unknown>>;
  readonly error?: { readonly message: string };
}

/**
 * A page of a headless Chromium that trusts `caFile`, reaches the network only through the proxy, and gives it its
 * credential when asked; a browser cannot be given that on its command line.
 */
export async function openPage(url: string, proxy: URL, caFile: string, env: Env): Promise<Page> {
  const home = tempFolder('chromium');
  trust(home, caFile);
  const child = spawn(
    'chromium',
    [
      '--headless=new',
      '--no-sandbox',
      '--disable-gpu',
      '--disable-dev-shm-usage',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      '--remote-debugging-port=0',
      `--user-data-dir=${join(home, 'profile')}`,
      `--proxy-server=http://${proxy.host}`,
      // Names are the proxy's to resolve; whatever else would be looked up is not.
      '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1',
    ],
    { env: { ...env, HOME: home }, stdio: ['ignore', 'ignore', 'pipe'] },
  );
  const exited = new Promise<void>(resolve => void child.once('exit', () => resolve()));
  const stop = async (): Promise<void> => {
    child.kill('SIGKILL');
    await exited;
  };
  try {
    const tools = await connectTools(await devTools(child.stderr), proxy);
    await tools.call('Page.navigate', { url });
    return {
      evaluate: async expression => {
        const options = { expression, awaitPromise: true, returnByValue: true };
        const { result, exceptionDetails } = await tools.call('Runtime.evaluate', options);
        if (exceptionDetails) throw new Error(`the page threw: ${JSON.stringify(exceptionDetails)}`);
        return (result as { value?: unknown }).value;
      },
      close: stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** Chromium's own store of certificates. */
function trust(home: string, caFile: string): void {
  const store = join(home, '.pki', 'nssdb');
  mkdirSync(store, { recursive: true });
  for (const args of [
    ['-N', '--empty-password'],
    ['-A', '-t', 'C,,', '-n', 'gate', '-i', caFile],
  ]) {
    const { status, stderr } = spawnSync('certutil', ['-d', `sql:${store}`, ...args], { encoding: 'utf8' });
    if (status !== 0) throw new Error(`certutil: ${stderr}`);
  }
}

async function devTools(stderr: NodeJS.ReadableStream): Promise<string> {
  const lines: string[] = [];
  for await (const line of createInterface(stderr)) {
    const found = /^DevTools listening on (ws:\S+)/.exec(line)?.[1];
    if (found !== undefined) {
      stderr.resume();
      return found;
    }
    lines.push(line);
  }
  throw new Error(`Chromium ended: ${lines.join('\n')}`);
}

interface Tools {
  call(method: string, params?: object): Promise<Readonly<Record<string, unknown>>>;
}

/** A new page's DevTools; answers the proxy's 407 with its credential. */
async function connectTools(address: string, proxy: URL): Promise<Tools> {
  const socket = new WebSocket(address);
  const waiting = new Map<number, (told: Told) => void>();
  let session: string | undefined;
  let last = 0;
  const call = (method: string, params: object = {}): Promise<Readonly<Record<string, unknown>>> =>
    new Promise((resolve, reject) => {
      const id = ++last;
      waiting.set(id, ({ result, error }) =>
        error ? reject(new Error(`${method}: ${error.message}`)) : resolve(result ?? {}),
      );
      socket.send(
        JSON.stringify({ id, method, params, ...(session !== undefined && { sessionId: session }) }),
      );
    });
  socket.addEventListener('message', ({ data }) => {
    const told = JSON.parse(String(data)) as Told;
    const requestId = told.params?.requestId;
    if (told.id !== undefined) waiting.get(told.id)?.(told);
    else if (told.method === 'Fetch.requestPaused') void call('Fetch.continueRequest', { requestId });
    else if (told.method === 'Fetch.authRequired') {
      const username = decodeURIComponent(proxy.username);
      const password = decodeURIComponent(proxy.password);
      const authChallengeResponse = { response: 'ProvideCredentials', username, password };
      void call('Fetch.continueWithAuth', { requestId, authChallengeResponse });
    }
  });
  await new Promise((resolve, reject) => {
    socket.addEventListener('open', resolve);
    socket.addEventListener('error', reject);
  });
  const { targetId } = await call('Target.createTarget', { url: 'about:blank' });
  const { sessionId } = await call('Target.attachToTarget', { targetId, flatten: true });
  session = String(sessionId);
  await call('Fetch.enable', { handleAuthRequests: true });
  return { call };
}
