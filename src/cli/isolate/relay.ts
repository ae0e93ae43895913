import { connect, type Server, type Socket } from 'node:net';
import type { GateAddress } from './environment.ts';

/** Carries each connection of a listener in a sandbox to a gate in another process. */
export function relay(listener: Server, gate: GateAddress): void {
  listener.on('connection', (client: Socket) => {
    const server = connect({ ...gate, noDelay: true });
    client.setNoDelay(true);
    join(client, server);
    join(server, client);
  });
}

/** What ends one way ends the other way; what breaks off breaks off there, too. */
function join(from: Socket, to: Socket): void {
  from.pipe(to);
  from.on('error', () => to.resetAndDestroy());
  from.on('close', () => to.destroySoon());
}
