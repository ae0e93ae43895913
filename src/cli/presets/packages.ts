import type { PackageClient } from '../registries.ts';
import type { Preset, PresetMaker, RuleRow } from './preset.ts';

const ELSEWHERE =
  'An index may keep its files on another host: "stubgate learn" or "stubgate audit tail -f" shows which one is asked; allow it too.';

/** Package registries, wherever the client's own settings say that they are. */
export const PACKAGES: Readonly<Record<string, PresetMaker>> = {
  npm: reading('npm', 'npm', 'the registry that npm is set to', 'left-pad'),
  pip: reading('pip', 'pip', 'the index that pip is set to', 'six/', ELSEWHERE),
  cargo: reading('cargo', 'Cargo', 'the sparse index that Cargo is set to', 'config.json', ELSEWHERE),
  rubygems: reading('gem', 'RubyGems', 'the source that gem is set to', 'versions'),
  docker: reading(
    'docker',
    'Docker, Podman, Buildah',
    'the registry that Docker is set to',
    'library/alpine/manifests/3.20',
    'Tokens and layers may come from other hosts: the audit shows which; allow them too. What pulls must be a client in the sandbox; a daemon outside it has a proxy setting of its own.',
    '/v2/',
  ),
  'pypi-upload': ({ registry }) => {
    const url = registry('twine');
    if (url.protocol !== 'https:')
      throw new Error('twine is set to an index without TLS, which may not get a token');
    const rule = ruleFor('pypi-upload', url, ['POST'], [url.pathname]);
    return {
      title: 'Twine',
      summary: 'uploading packages to the index that twine is set to',
      note: 'What is uploaded is published, and stays: use a token for one project.',
      credentials: { 'pypi-upload': { variable: 'TWINE_PASSWORD', shape: 'pypi' } },
      rules: [{ ...rule, inject: [{ credential: 'pypi-upload', as: 'basic', username: '__token__' }] }],
      allows: { 'pypi-upload': [`POST ${url.href}`] },
      denies: [`DELETE ${url.href}`, `POST ${new URL('/elsewhere', url).href}`],
    };
  },
};

/** `below`: a part of the path that the client adds to its setting. */
function reading(
  client: PackageClient,
  title: string,
  from: string,
  sample: string,
  note?: string,
  below = '',
): PresetMaker {
  return ({ registry }): Preset => {
    const url = registry(client);
    const root = below === '' ? url.pathname.replace(/\/*$/, '/') : below;
    const name = client === 'gem' ? 'rubygems' : client;
    return {
      title,
      summary: `packages, read only, from ${from}`,
      ...(note !== undefined && { note }),
      credentials: {},
      rules: [ruleFor(name, url, ['GET', 'HEAD'], [`${root}**`])],
      allows: { [name]: [`GET ${new URL(root + sample, url).href}`] },
      denies: [`PUT ${new URL(root + sample, url).href}`, `POST ${new URL(root + sample, url).href}`],
    };
  };
}

function ruleFor(name: string, url: URL, methods: readonly string[], paths: readonly string[]): RuleRow {
  return {
    name,
    hosts: [url.hostname],
    ...(url.port !== '' && { ports: [Number(url.port)] }),
    ...(url.protocol === 'http:' && { schemes: ['http'] }),
    methods,
    paths,
  };
}
