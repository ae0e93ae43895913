import { expect, test } from 'vitest';
import type { Alarm } from '../../src/alarms/alarm.ts';
import { Deliveries, type DeliveriesOptions } from '../../src/alarms/deliveries.ts';
import type { Sent, Webhook } from '../../src/alarms/webhook.ts';
import { until } from '../support/redis.ts';

const alarm = (session: string, request_id = 'r1'): Alarm => ({
  time: '2026-01-01T00:00:00.000Z',
  code: 'stub_misplaced',
  session,
  profile: 'default',
  sub: null,
  act: null,
  labels: {},
  host: 'evil.test',
  rule: null,
  request_id,
  revoked: false,
});

/** A webhook whose answers are played; it keeps what it was sent. */
function receiver(answers: readonly Sent[] = []) {
  const sent: { readonly id: string; readonly told: Alarm & { readonly count: number } }[] = [];
  const results: string[] = [];
  const logs: string[] = [];
  let open = 0;
  let most = 0;
  const webhook = {
    send: async (id: string, body: string): Promise<Sent> => {
      most = Math.max(most, ++open);
      sent.push({ id, told: JSON.parse(body) as Alarm & { count: number } });
      await new Promise(resolve => setImmediate(resolve));
      open--;
      return answers[sent.length - 1] ?? { done: true };
    },
  } as unknown as Webhook;
  const make = (more: Partial<DeliveriesOptions> = {}): Deliveries => {
    const deliveries = new Deliveries({
      log: { debug: () => {}, info: () => {}, warn: message => logs.push(message), error: () => {} },
      count: result => results.push(result),
      backoffMs: [1, 1],
      windowMs: 50,
      ...more,
    });
    deliveries.webhook = webhook;
    return deliveries;
  };
  return { sent, results, logs, make, most: () => most };
}

const BUSY: Sent = { done: false, again: true, why: 'it answered 503' };
const FINAL: Sent = { done: false, again: false, why: 'it answered 404' };

test('the first alarm goes at once, a flood behind it as one, with its number', async () => {
  const { sent, results, make } = receiver();
  const deliveries = make();
  for (let i = 0; i < 1000; i++) deliveries.add(alarm('s_1', `r${i}`));
  deliveries.add(alarm('s_2'));
  await until('all are told', () => results.length === 3, 2000);
  expect(sent.map(({ told }) => [told.session, told.count, told.request_id])).toEqual([
    ['s_1', 1, 'r0'],
    ['s_2', 1, 'r1'],
    ['s_1', 999, 'r1'],
  ]);
  await deliveries.close();
});

test('a delivery is tried again under its id, and given up in the end', async () => {
  const { sent, results, logs, make } = receiver([BUSY, BUSY, { done: true }, BUSY, BUSY, BUSY]);
  const deliveries = make();
  deliveries.add(alarm('s_1'));
  await until('it is told', () => results.length === 1, 2000);
  deliveries.add(alarm('s_2'));
  await until('it is given up', () => results.length === 2, 2000);
  expect(results).toEqual(['delivered', 'failed']);
  expect(new Set(sent.map(({ id }) => id)).size).toBe(2);
  expect(sent).toHaveLength(6);
  expect(logs.at(-1)).toBe('an alarm could not be delivered');
  await deliveries.close();
});

test('what is refused for good is not tried again', async () => {
  const { sent, results, make } = receiver([FINAL]);
  const deliveries = make();
  deliveries.add(alarm('s_1'));
  await until('it is given up', () => results.length === 1, 2000);
  expect([sent.length, results]).toEqual([1, ['failed']]);
  await deliveries.close();
});

test('the queue is bounded, and so is what is sent at a time', async () => {
  const { results, make, most } = receiver();
  const deliveries = make({ windowMs: 10_000 });
  for (let i = 0; i < 1200; i++) deliveries.add(alarm(`s_${i}`));
  expect(results.filter(result => result === 'dropped')).toHaveLength(200);
  await deliveries.close();
  expect(results.filter(result => result === 'delivered')).toHaveLength(1000);
  expect(most()).toBeLessThanOrEqual(8);
});

test('closing tells what waits, and does not wait for a window or a backoff', async () => {
  const { results, make, sent } = receiver([BUSY]);
  const deliveries = make({ windowMs: 60_000, backoffMs: [60_000] });
  deliveries.add(alarm('s_1'));
  await until('it was tried', () => sent.length === 1, 2000);
  deliveries.add(alarm('s_1'));
  const from = performance.now();
  await deliveries.close();
  expect(performance.now() - from).toBeLessThan(2000);
  expect(results).toEqual(['delivered', 'delivered']);
});
