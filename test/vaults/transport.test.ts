import { describe, expect, it } from 'vitest';
import { Transport } from '../../src/vaults/transport.ts';
import { closing } from '../e2e/scene.ts';
import { startHttp } from '../support/upstream.ts';

describe('plain http', () => {
  const open = async () => closing(await startHttp({}, (_, response) => void response.end('ok')));
  const send = (url: string, insecure?: boolean) =>
    new Transport(undefined).send({
      method: 'GET',
      url: new URL(url),
      headers: {},
      ...(insecure !== undefined && { insecure }),
    });

  it('is sent nothing unless the exchange allows it', async () => {
    const server = await open();
    for (const insecure of [undefined, false])
      await expect(send(`http://${server.address}/`, insecure)).rejects.toMatchObject({
        kind: 'unavailable',
        message: `http://${server.address}: is not asked over plain http; write an https address`,
      });
    expect(server.requests).toEqual([]);
    expect(await send(`http://${server.address}/`, true)).toMatchObject({ status: 200, text: 'ok' });
  });

  it('is not what another scheme is taken for', async () => {
    const server = await open();
    await expect(send(`ftp://${server.address}/`, true)).rejects.toMatchObject({ kind: 'unavailable' });
    expect(server.requests).toEqual([]);
  });
});
