import type { Client } from '../../state/redis/connect.ts';
import { errorText } from '../log.ts';
import { type Check, failed, type Finding, ok } from './check.ts';

const TIMEOUT_MS = 3000;

/** Of `state`, if it is shared: whether it answers, as whom and over what the configuration says. */
export const redis: Check = {
  name: 'redis',
  run: async ({ compiled: { config } }) => {
    if (config.state === 'memory') return [];
    const { connect } = await import('../../state/redis/connect.ts');
    const { commands, subscriber } = await connect(config.state);
    const where = config.state.nodes.map(({ host, port }) => `${host}:${port}`).join(', ');
    try {
      return [await asked(commands, where)];
    } finally {
      commands.disconnect();
      subscriber.disconnect();
    }
  },
};

async function asked(client: Client, where: string): Promise<Finding> {
  const fix = 'check `state`, and that Redis runs: redis-cli -h HOST -p PORT ping';
  let last: Error | undefined;
  client.on('error', (error: Error) => (last = error));
  try {
    await ready(client);
    await client.ping();
    return ok(`${where} answers`);
  } catch (error) {
    const why = last ?? (error as Error);
    return failed(`${where} does not serve this gate: ${errorText(why)}`, fix);
  }
}

function ready(client: Client): Promise<void> {
  if (client.status === 'ready') return Promise.resolve();
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`no answer within ${TIMEOUT_MS / 1000} s`)), TIMEOUT_MS);
    client.once('ready', () => {
      clearTimeout(timer);
      resolve();
    });
  });
}
