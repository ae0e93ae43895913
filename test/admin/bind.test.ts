import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { createServer, get, type Server } from 'node:http';
import { createServer as createSocketServer } from 'node:net';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { bind } from '../../src/admin/bind.ts';
import { tempFolder } from '../audit/event.ts';

function server(): Server {
  const made = createServer((_, response) => void response.end('here'));
  onTestFinished(() => void made.close());
  return made;
}

function ask(where: object): Promise<string> {
  return new Promise((resolve, reject) => {
    get(where, response => {
      let text = '';
      response.on('data', chunk => (text += String(chunk)));
      response.on('end', () => resolve(text));
    }).on('error', reject);
  });
}

describe('a TCP address', () => {
  it('is told with the port that was free', async () => {
    const address = await bind(server(), { host: '127.0.0.1', port: 0 });
    expect(address).toMatch(/^127\.0\.0\.1:\d+$/);
    expect(await ask(new URL(`http://${address}`))).toBe('here');
  });

  it('is bracketed in IPv6', async () => {
    expect(await bind(server(), { host: '::1', port: 0 })).toMatch(/^\[::1\]:\d+$/);
  });

  it('that is taken is an error', async () => {
    const address = await bind(server(), { host: '127.0.0.1', port: 0 });
    const port = Number(new URL(`http://${address}`).port);
    await expect(bind(server(), { host: '127.0.0.1', port })).rejects.toMatchObject({ code: 'EADDRINUSE' });
  });
});

describe('a Unix socket', () => {
  it('is private', async () => {
    const path = join(tempFolder(), 'admin.sock');
    const before = process.umask(0);
    onTestFinished(() => void process.umask(before));
    expect(await bind(server(), { path })).toBe(`unix:${path}`);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(process.umask()).toBe(0);
    expect(await ask({ socketPath: path, path: '/' })).toBe('here');
  });

  it('that a dead process left is replaced', async () => {
    const path = join(tempFolder(), 'admin.sock');
    const code = `require('net').createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 'SIGKILL'))`;
    await once(spawn(process.execPath, ['-e', code]), 'exit');
    expect(existsSync(path)).toBe(true);
    await bind(server(), { path });
    expect(await ask({ socketPath: path, path: '/' })).toBe('here');
  });

  it('that somebody listens on stays', async () => {
    const path = join(tempFolder(), 'admin.sock');
    const other = createSocketServer().listen(path);
    onTestFinished(() => void other.close());
    await once(other, 'listening');
    await expect(bind(server(), { path })).rejects.toThrow(/another process listens there/);
    expect(existsSync(path)).toBe(true);
  });

  it('never replaces a file', async () => {
    const path = join(tempFolder(), 'admin.sock');
    writeFileSync(path, 'precious');
    await expect(bind(server(), { path })).rejects.toThrow(/is there, and is no socket/);
    expect(readFileSync(path, 'utf8')).toBe('precious');
  });
});
