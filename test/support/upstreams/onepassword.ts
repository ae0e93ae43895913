import type { ServerResponse } from 'node:http';
import { type HttpUpstream, startHttp } from '../upstream.ts';
import { answer } from './vault.ts';

export interface ConnectField {
  readonly id: string;
  readonly label?: string;
  readonly value?: string;
  readonly purpose?: string;
  readonly section?: { readonly id: string };
}

export interface ConnectItem {
  readonly id: string;
  readonly title: string;
  readonly state?: string;
  readonly version?: number;
  readonly sections?: readonly { readonly id: string; readonly label: string }[];
  readonly fields?: readonly ConnectField[];
}

export interface ConnectSetup {
  /** What `Authorization: Bearer` must carry. */
  token: string;
  vaults: readonly { readonly id: string; readonly name: string; readonly items: readonly ConnectItem[] }[];
  /** Names of the certificate; none: plain HTTP. */
  hosts?: readonly string[];
  /** Status of every answer. */
  status?: number;
}

/** A 1Password Connect server, API 1.8, as far as a reader sees it. */
export function startConnect({ token, vaults, hosts, status }: ConnectSetup): Promise<HttpUpstream> {
  return startHttp(hosts ? { hosts } : {}, ({ url, headers }, response) => {
    const refuse = (code: number) => answer(response, code, { status: code, message: `no: ${url} ${token}` });
    if (status !== undefined) return refuse(status);
    if (headers.authorization !== `Bearer ${token}`) return refuse(401);
    const { pathname, searchParams } = new URL(url, 'http://connect');
    const [, , ofVaults, vaultId, ofItems, itemId, ...more] = pathname.split('/');
    const filter = searchParams.get('filter');
    if (ofVaults !== 'vaults' || more.length > 0) return refuse(404);
    if (vaultId === undefined)
      return list(
        response,
        'name',
        filter,
        vaults.map(({ id, name }) => ({ id, name, attributeVersion: 1 })),
      );
    const vault = vaults.find(({ id }) => id === vaultId);
    if (!vault) return refuse(403);
    if (ofItems !== 'items') return refuse(404);
    const summaries = vault.items.map(({ id, title, state }) => ({
      id,
      title,
      state,
      vault: { id: vaultId },
    }));
    if (itemId === undefined) return list(response, 'title', filter, summaries);
    const item = vault.items.find(({ id }) => id === itemId);
    return item ? answer(response, 200, { vault: { id: vaultId }, ...item }) : refuse(404);
  });
}

/** As Connect does, without regard to case. */
function list<K extends string>(
  response: ServerResponse,
  key: K,
  filter: string | null,
  entries: readonly Readonly<Record<K, string>>[],
): void {
  const name = new RegExp(`^${key} eq "([^"]*)"$`).exec(filter ?? '')?.[1];
  if (filter !== null && name === undefined)
    return answer(response, 400, { status: 400, message: 'bad filter' });
  const found = entries.filter(
    entry => name === undefined || entry[key].toLowerCase() === name.toLowerCase(),
  );
  answer(response, 200, found);
}
