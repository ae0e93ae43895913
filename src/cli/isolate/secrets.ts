import { existsSync, statSync } from 'node:fs';
import { dirname, isAbsolute } from 'node:path';
import { alarmFiles } from '../../alarms/options.ts';
import { type Mapping, mapping } from '../../config/raw.ts';
import type { Compiled } from '../../config/types.ts';
import { secretFiles } from '../../state/redis/options.ts';
import { vaultTypes } from '../../vaults/index.ts';
import { real } from './paths.ts';

export interface SecretFolder {
  /** For an error, such as `the CA's folder`. */
  readonly what: string;
  readonly path: string;
}

/** Options of a vault that name a file or a folder; the CA of its server is public. */
const PATH_OPTION = /^(?!ca_)(.*_)?(dir|file|path)$/;

/**
 * Folders whose content no sandbox may see. A file is hidden with its folder: it may be replaced while the sandbox runs,
 * and its successor would have another inode.
 */
export function secretFolders({
  config,
  sources,
  vaults: built,
}: Pick<Compiled, 'config' | 'sources' | 'vaults'>): SecretFolder[] {
  const { alarms, ca, listen, state, vaults } = config;
  const found: SecretFolder[] = [{ what: 'the folder of the CA', path: ca.dir }];
  const add = (what: string, file: string | undefined): void => {
    if (file === undefined) return;
    // Behind a link (Kubernetes mounts a secret as one) both ends.
    for (const path of new Set([dirname(file), ...real(file).map(folderOf)])) found.push({ what, path });
  };
  add('the key of the CA', ca.key);
  add('the key of the proxy listener', listen.tls?.keyFile);
  add('the socket of the admin listener', listen.admin.path);
  for (const file of secretFiles(state)) add('a secret of the state', file);
  for (const file of alarmFiles(alarms)) add('a secret of the alarms', file);
  for (const [name, { type, options }] of vaults) {
    // Checked once more for the options that have a default.
    const all = mapping(vaultTypes.get(type)?.schema.parse(options));
    for (const path of pathOptions(all)) {
      if (isFolder(path)) found.push({ what: `the folder of the vault "${name}"`, path });
      else add(`a file of the vault "${name}"`, path);
    }
  }
  for (const variable of [...built.values()].flatMap(({ variables = [] }) => variables)) {
    const path = process.env[variable];
    if (path !== undefined && isAbsolute(path) && existsSync(path)) add(`the file in ${variable}`, path);
  }
  for (const { name, ref } of sources.values()) {
    const vault = vaults.get(ref.vault);
    if (vault?.type === 'file' && vault.options['dir'] === undefined)
      add(`the secret of the credential "${name}"`, ref.id);
  }
  return found;
}

function pathOptions(options: Mapping): string[] {
  return Object.entries(options).flatMap(([key, value]) => {
    if (typeof value === 'string') return PATH_OPTION.test(key) && value.startsWith('/') ? [value] : [];
    return pathOptions(mapping(value));
  });
}

const isFolder = (path: string): boolean => statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
const folderOf = (path: string): string => (isFolder(path) ? path : dirname(path));
