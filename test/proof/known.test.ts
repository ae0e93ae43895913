import { expect, it } from 'vitest';
import type { Compiled } from '../../src/config/types.ts';
import { KnownSecrets } from '../../src/proof/known.ts';
import { Secret } from '../../src/secret.ts';

const compiled = {
  vaults: new Map([['v', { read: async () => new Secret('x', 'from-the-vault'), variables: ['A'] }]]),
  mints: new Map([
    [
      'm',
      {
        name: 'm',
        minter: {
          rotates: false,
          scope: () => 's',
          mint: async () => ({ secret: new Secret('m', 'minted-token'), expiresAt: 1 }),
        },
      },
    ],
  ]),
} as unknown as Compiled;

it('notes what a gate reads and mints, once, and gives it on unchanged', async () => {
  const known = new KnownSecrets();
  const told: string[] = [];
  known.onNew = ({ credential }) => told.push(credential);
  const { vaults, mints } = known.rewrite(compiled);
  const signal = new AbortController().signal;
  const read = await vaults.get('v')?.read({ vault: 'v', id: 'a', field: 'f' }, signal);
  await vaults.get('v')?.read({ vault: 'v', id: 'b' }, signal);
  const minted = await mints.get('m')?.minter.mint('s', {} as never);
  expect([read?.reveal(), minted?.secret.reveal()]).toEqual(['from-the-vault', 'minted-token']);
  expect(known.all()).toEqual([
    { credential: 'v:a#f', value: 'from-the-vault' },
    { credential: 'm', value: 'minted-token' },
  ]);
  expect(told).toEqual(['v:a#f', 'm']);
  expect(vaults.get('v')?.variables).toEqual(['A']);
});
