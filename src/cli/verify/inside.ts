/**
 * Tries to get out of an isolated sandbox, from inside. Sends nothing where there is a route: it is for a network namespace
 * of its own only. argv: the plan, JSON. Prints the results, JSON.
 */
import { createSocket } from 'node:dgram';
import { Resolver } from 'node:dns/promises';
import { readFileSync, readlinkSync } from 'node:fs';
import { connect } from 'node:net';
import { networkInterfaces } from 'node:os';
import type { Plan } from './break-outs.ts';
import type { BreakOut } from './program.ts';

/** For an answer, ms. Nothing answers: what is refused is refused at once. */
const WAIT_MS = 1500;

const plan = JSON.parse(process.argv[2] ?? '{}') as Plan;

const closed = (what: string, detail: string): BreakOut => ({ what, verdict: 'closed', detail });
const open = (what: string, detail: string): BreakOut => ({ what, verdict: 'OPEN', detail });
const bracketed = (host: string): string => (host.includes(':') ? `[${host}]` : host);
const codeOf = (error: unknown): string => (error as NodeJS.ErrnoException).code ?? String(error);

/** Routes other than loopback's (proc_net(5): /proc/net/route, /proc/net/ipv6_route). */
function routes(): string[] {
  const four = readFileSync('/proc/net/route', 'latin1').trim().split('\n').slice(1);
  const six = readFileSync('/proc/net/ipv6_route', 'latin1').trim().split('\n');
  return [
    ...four.map(line => line.split('\t')[0] ?? ''),
    ...six.map(line => line.trim().split(/\s+/).at(-1) ?? ''),
  ].filter(name => name !== '' && name !== 'lo');
}

function tcp(what: string, host: string, port: number): Promise<BreakOut> {
  return new Promise(resolve => {
    const socket = connect({ host, port });
    const end = (result: BreakOut): void => {
      socket.destroy();
      resolve(result);
    };
    socket.setTimeout(WAIT_MS, () => end(closed(what, 'no answer')));
    socket.once('connect', () => end(open(what, 'a connection was made')));
    socket.once('error', error => end(closed(what, codeOf(error))));
  });
}

function udp(what: string, host: string, port: number): Promise<BreakOut> {
  return new Promise(resolve => {
    const socket = createSocket(host.includes(':') ? 'udp6' : 'udp4');
    const end = (result: BreakOut): void => {
      clearTimeout(timer);
      socket.close();
      resolve(result);
    };
    const timer = setTimeout(() => end(closed(what, 'no answer')), WAIT_MS);
    // Header and question of a DNS query for "a" (RFC 1035, section 4.1).
    const query = Buffer.from('0001010000010000000000000161000001 0001'.replace(' ', ''), 'hex');
    socket.once('error', error => end(closed(what, codeOf(error))));
    socket.once('message', () => end(open(what, 'an answer came')));
    socket.once('connect', () => {
      socket.send(query, failed => failed && end(closed(what, codeOf(failed))));
    });
    socket.connect(port, host);
  });
}

async function names(): Promise<BreakOut> {
  const what = 'DNS by the system’s resolvers';
  try {
    const resolver = new Resolver({ timeout: WAIT_MS, tries: 1 });
    return open(what, `an answer: ${(await resolver.resolve4('stubgate-verify.test')).join(' ')}`);
  } catch (error) {
    const code = codeOf(error);
    return code === 'ENOTFOUND' || code === 'ENODATA'
      ? open(what, `a server answered: ${code}`)
      : closed(what, code);
  }
}

/** What the gate answers to a request for it; in the clear, for a denied host's tunnel is opened to tell so in it. */
function throughGate(what: string, target: string, authorization: string): Promise<BreakOut> {
  return new Promise(resolve => {
    const socket = connect(plan.gate);
    const field = authorization === '' ? '' : `Proxy-Authorization: ${authorization}\r\n`;
    socket.setTimeout(WAIT_MS * 4, () => socket.destroy());
    socket.on('error', () => {});
    socket.once('data', (answer: Buffer) => {
      const text = answer.toString('latin1');
      const reason = /^stubgate-reason: *(\S+)/im.exec(text)?.[1];
      socket.destroy();
      if (reason === undefined) resolve(open(what, text.split('\r\n', 1)[0] ?? ''));
      else resolve(closed(what, `refused as ${reason}`));
    });
    socket.once('close', () => resolve(closed(what, 'no answer')));
    socket.write(`GET http://${target}/ HTTP/1.1\r\nHost: ${target}\r\n${field}\r\n`);
  });
}

function file(path: string): BreakOut {
  const what = `the gate’s file ${path}`;
  try {
    readFileSync(path);
    return open(what, 'it can be read');
  } catch (error) {
    return closed(what, codeOf(error));
  }
}

function namespace(name: string): BreakOut {
  const own = readlinkSync(`/proc/self/ns/${name}`);
  const what = `the ${name} namespace`;
  return own === plan.namespaces[name] ? open(what, 'it is the gate’s') : closed(what, 'its own');
}

function capabilities(): BreakOut {
  const held = /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '?';
  const what = 'raw sockets and other privileges';
  return /^0+$/.test(held) ? closed(what, 'no capability') : open(what, `capabilities ${held}`);
}

async function tryAll(): Promise<BreakOut[]> {
  const found = routes();
  const interfaces = Object.keys(networkInterfaces()).filter(name => name !== 'lo');
  const network = 'the network namespace';
  if (found.length > 0 || interfaces.length > 0)
    return [
      open(network, `it has more than loopback, so nothing was sent: ${[...found, ...interfaces].join(' ')}`),
    ];
  const { addresses, ports, files, authorization } = plan;
  return [
    closed(network, 'no route, no interface but loopback'),
    ...Object.keys(plan.namespaces).map(namespace),
    capabilities(),
    ...files.map(file),
    ...(await Promise.all([
      ...addresses.map(([what, host, port]) => tcp(`${what}, ${host}:${port}`, host, port)),
      ...addresses.map(([what, host]) => udp(`DNS by UDP to ${what}, ${host}`, host, 53)),
      ...addresses.map(([what, host]) => tcp(`DNS by TCP to ${what}, ${host}`, host, 53)),
      names(),
      ...ports.map(([what, port]) => tcp(`${what}, 127.0.0.1:${port}`, '127.0.0.1', port)),
      throughGate('the gate, without its credential', `${addresses[0]?.[1]}:443`, ''),
      ...addresses.map(([what, host, port]) =>
        throughGate(`the gate, to ${what}`, `${bracketed(host)}:${port}`, authorization),
      ),
      ...ports.map(([what, port]) => throughGate(`the gate, to ${what}`, `127.0.0.1:${port}`, authorization)),
    ])),
  ];
}

process.stdout.write(JSON.stringify(await tryAll()));
