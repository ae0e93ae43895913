import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { message, play } from './case.ts';
import { openScene, type Scene } from './scene.ts';

let scene: Scene;
beforeAll(async () => {
  scene = await openScene();
});
afterAll(() => scene.close());

type Spell = (text: string) => string;
const base64 = (text: string): string => Buffer.from(text, 'latin1').toString('base64');
const SPELLINGS: readonly (readonly [name: string, spell: Spell])[] = [
  ['base64', base64],
  ['base64 behind one byte', text => base64(`.${text}`)],
  ['base64 behind two bytes', text => base64(`..${text}`)],
  ['base64url', text => Buffer.from(text, 'latin1').toString('base64url')],
  ['hex', text => Buffer.from(text, 'latin1').toString('hex')],
  ['UTF-16', text => Buffer.from(text, 'utf16le').toString('latin1')],
];

/** Where a credential goes out, and what stands there then: an upstream that shows its request may encode it again. */
const WIRES: readonly (readonly [name: string, host: string, wire: (value: string) => string])[] = [
  ['Basic, the user by rule', 'git.test', value => `Basic ${base64(`x-access-token:${value}`)}`],
  ['Basic, a user of the client’s', 'basic.test', value => `Basic ${base64(`somebody:${value}`)}`],
  ['Basic, the credential as user', 'basic.test', value => `Basic ${base64(`${value}:`)}`],
];

describe.each(WIRES)('what went out as %s', (_, host, wire) => {
  test.each(SPELLINGS)('does not come back in %s', async (name, spell) => {
    const get = (value: string): string =>
      message(['GET /x HTTP/1.1', `Host: ${host}`, `Authorization: ${wire(value)}`]);
    await play(scene, {
      name,
      host,
      send: s => Buffer.from(get(s.stub), 'latin1'),
      answers: s => {
        const body = Buffer.from(`seen: ${spell(wire(s.secret))}.`, 'latin1');
        return message(['HTTP/1.1 200 OK', `Content-Length: ${body.length}`], body.toString('latin1'));
      },
      status: 200,
      upstream: s => Buffer.from(get(s.secret), 'latin1'),
    });
    const [line] = (await scene.gate.audit(1)).slice(-2);
    expect(line?.scrubbed).toBeGreaterThan(0);
  });
});
