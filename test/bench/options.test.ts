import { describe, expect, test } from 'vitest';
import { choose, UsageError } from '../../bench/options.ts';
import { PEER_NAMES } from '../../bench/peers/index.ts';

describe('what is measured', () => {
  test('everything by default, in five rounds', () => {
    expect(choose([])).toMatchObject({
      plan: { rounds: 5, only: PEER_NAMES },
      isQuick: false,
      commits: false,
    });
  });

  test('--quick: one short round of the peers that Debian has and the targets name', () => {
    expect(choose(['--quick'])).toMatchObject({
      plan: { rounds: 1, seconds: 0.8, only: ['stubgate', 'nginx', 'squid'] },
      isQuick: true,
    });
  });

  test('a selection', () => {
    expect(choose(['--only', 'squid,nginx', '--work', 'names', '--rounds', '2'])).toMatchObject({
      plan: { rounds: 2, only: ['squid', 'nginx'], work: ['names'] },
    });
  });

  test('a gate of several workers beside the one of one process', () => {
    expect(choose(['--workers', '2'])).toMatchObject({
      plan: { only: [...PEER_NAMES, 'stubgate-w2'] },
      workers: 2,
    });
  });

  test('nothing with --help', () => {
    expect(choose(['--help'])).toBeUndefined();
  });

  test.each([
    [['--only', 'envoy'], '--only: no "envoy"; one of stubgate, nginx'],
    [['--work', 'naps'], '--work: no "naps"; one of keepalive1'],
    [['--rounds', '0'], '--rounds: 1 to 20'],
    [['--rounds', 'many'], '--rounds: 1 to 20'],
    [['--workers', '0'], '--workers: 1 to 64'],
    [['--workers', '65'], '--workers: 1 to 64'],
    [['--only', 'stubgate-w2'], '--only: no "stubgate-w2"'],
    [['--quick', '--commit'], 'leave out --quick'],
  ])('%j is refused', (args, message) => {
    expect(() => choose(args)).toThrow(UsageError);
    expect(() => choose(args)).toThrow(message);
  });
});
