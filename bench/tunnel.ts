import { readFileSync } from 'node:fs';
import { type Socket, connect } from 'node:net';
import { connect as tlsConnect, type TLSSocket } from 'node:tls';
import { DOMAIN, type Origin } from './origin.ts';
import type { Running } from './peers/peer.ts';

const HOST = `api.${DOMAIN}`;

/** One verified TLS connection through a proxy. */
export async function openTunnel(origin: Origin, running: Running): Promise<TLSSocket> {
  const socket = connect(running.port, '127.0.0.1');
  if (running.connect) {
    const header = running.connectHeader === undefined ? '' : `${running.connectHeader}\r\n`;
    socket.write(`CONNECT ${HOST}:${origin.port} HTTP/1.1\r\nHost: ${HOST}:${origin.port}\r\n${header}\r\n`);
    const answer = await firstBytes(socket);
    if (!answer.startsWith('HTTP/1.1 200 '))
      throw new Error(`CONNECT was refused: ${answer.split('\r\n')[0]}`);
  }
  return new Promise((resolve, reject) => {
    const tls = tlsConnect({
      socket,
      servername: HOST,
      ca: readFileSync(running.caFile),
      ALPNProtocols: ['http/1.1'],
    });
    tls.once('error', reject);
    tls.once('secureConnect', () => resolve(tls));
  });
}

export function get(origin: Origin, running: Running, path: string, close: boolean): string {
  const fields = [`Host: ${HOST}:${origin.port}`, `Authorization: ${running.authorization}`, 'Accept: */*'];
  if (close) fields.push('Connection: close');
  return `GET ${path} HTTP/1.1\r\n${fields.join('\r\n')}\r\n\r\n`;
}

/** What has arrived once it holds the end of a head; no more is read until the socket is resumed. */
export function firstBytes(socket: Socket): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = '';
    const take = (chunk: Buffer): void => {
      text += chunk.toString('latin1');
      if (!text.includes('\r\n\r\n')) return;
      socket.pause().off('data', take).setTimeout(0);
      resolve(text);
    };
    socket.setTimeout(5000, () => socket.destroy(new Error('no answer within 5 s')));
    socket.once('error', reject);
    socket.once('close', () => reject(new Error('closed without an answer')));
    socket.on('data', take);
  });
}

/** The whole response, head included, latin1. */
export async function fetchThrough(origin: Origin, running: Running, path: string): Promise<string> {
  const tls = await openTunnel(origin, running);
  tls.write(get(origin, running, path, true));
  return new Promise((resolve, reject) => {
    let text = '';
    tls.setTimeout(5000, () => tls.destroy(new Error(`no whole answer to GET ${path}`)));
    tls.on('data', (chunk: Buffer) => (text += chunk.toString('latin1')));
    tls.on('end', () => resolve(text));
    tls.on('error', reject);
  });
}
