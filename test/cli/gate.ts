import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { tempFolder } from '../audit/event.ts';
import { environment, MAIN, type Where } from './stubgate.ts';

/** A folder with a configuration for the demo upstream, whose control plane is a socket in it. */
export function demoFolder(): string {
  const cwd = tempFolder();
  writeFileSync(
    join(cwd, 'stubgate.yaml'),
    `version: 1
listen: { proxy: 127.0.0.1:0, admin: "unix:./admin.sock" }
credentials:
  demo:
    from: env:STUBGATE_DEMO_SECRET
    stub: { env: DEMO_TOKEN, shape: "demo_{32}" }
rules:
  - name: demo
    hosts: [demo.stubgate.test]
    inject: [{ credential: demo, as: bearer }]
`,
  );
  return cwd;
}

export interface Started {
  child: ChildProcess;
  /** All that it has printed on stderr. */
  stderr: () => string;
  /** Settles when stderr matches. */
  says: (pattern: RegExp) => Promise<void>;
  exit: Promise<number | null>;
}

export function begin(where: Where, ...args: string[]): Started {
  const child = spawn(process.execPath, [...(where.node ?? []), MAIN, ...args], {
    cwd: where.cwd,
    env: environment(where),
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  onTestFinished(() => void child.kill('SIGKILL'));
  let stderr = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  const exit = once(child, 'exit').then(([code]) => code as number | null);
  const says = async (pattern: RegExp): Promise<void> => {
    while (!pattern.test(stderr)) {
      const more = child.stderr ? once(child.stderr, 'data') : Promise.resolve();
      const ended = exit.then(() => 'ended' as const);
      if ((await Promise.race([more, ended])) === 'ended' && !pattern.test(stderr))
        throw new Error(`it ended: ${stderr}`);
    }
  };
  return { child, stderr: () => stderr, says, exit };
}

/** A gate that is ready. */
export async function started(where: Where, ...args: string[]): Promise<Started> {
  const gate = begin(where, 'start', ...args);
  await gate.says(/"message":"ready"/);
  return gate;
}
