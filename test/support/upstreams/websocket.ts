import { type RawUpstream, startRaw } from '../upstream.ts';
import { accept, CLOSE, close, frame, type Message, PING, PONG, readMessage, TEXT } from '../websocket.ts';

export interface EchoSocket extends RawUpstream {
  /** Heads of the handshakes, and messages and control frames, in order of arrival. */
  readonly heads: readonly string[];
  readonly messages: readonly Message[];
}

/**
 * Sends back what it receives. Commands: the text `authorization` is answered with the value of that header; `ping` with
 * a ping; `bye` with a Close 4001 whose reason is that value.
 */
export async function startEchoSocket(host: string, more: readonly string[] = []): Promise<EchoSocket> {
  const heads: string[] = [];
  const messages: Message[] = [];
  const raw = await startRaw({ hosts: [host] }, async peer => {
    const head = await accept(peer, more);
    heads.push(head);
    const authorization = /^authorization: (.*)\r$/im.exec(head)?.[1] ?? '';
    for (;;) {
      const { opcode, data, frames } = await readMessage(peer);
      messages.push({ opcode, data, frames });
      const text = opcode === TEXT ? data.toString() : '';
      if (opcode === CLOSE) {
        await peer.send(frame(CLOSE, data));
        return peer.finish();
      }
      if (text === 'authorization') await peer.send(frame(TEXT, authorization));
      else if (text === 'ping') await peer.send(frame(PING, 'are you there'));
      else if (text === 'bye') await peer.send(frame(CLOSE, close(4001, authorization)));
      else if (opcode === PING) await peer.send(frame(PONG, data));
      else if (opcode !== PONG) await peer.send(frame(opcode, data));
    }
  });
  return { ...raw, heads, messages };
}
