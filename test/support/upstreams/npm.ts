import { createHash } from 'node:crypto';
import { gzipSync } from 'node:zlib';
import { type HttpUpstream, startHttp } from '../upstream.ts';
import { tar } from './tar.ts';

export interface NpmOptions {
  host: string;
  /** What `Authorization: Bearer` must carry. */
  token: string;
  /** Name of the one package, version 1.0.0; `require` of it gives `'from the private registry'`. */
  package: string;
}

/** A private npm registry: metadata and tarball, both behind a token. */
export function startNpmRegistry(options: NpmOptions): Promise<HttpUpstream> {
  const manifest = { name: options.package, version: '1.0.0', main: 'index.js' };
  const tarball = gzipSync(
    tar({
      'package/package.json': JSON.stringify(manifest),
      'package/index.js': "module.exports = 'from the private registry';\n",
    }),
  );
  const path = `/${options.package}/-/${options.package.replace(/^@.*\//, '')}-1.0.0.tgz`;
  const integrity = `sha512-${createHash('sha512').update(tarball).digest('base64')}`;
  const dist = { tarball: `https://${options.host}${path}`, integrity };
  const packument = {
    name: options.package,
    'dist-tags': { latest: '1.0.0' },
    versions: { '1.0.0': { ...manifest, dist } },
  };
  return startHttp({ hosts: [options.host] }, (request, response) => {
    const json = (status: number, body: unknown): void => {
      response.writeHead(status, { 'content-type': 'application/json' });
      response.end(JSON.stringify(body));
    };
    if (request.headers.authorization !== `Bearer ${options.token}`) {
      return json(401, { error: 'authentication required' });
    }
    const asked = decodeURIComponent(request.url);
    if (asked === `/${options.package}`) return json(200, packument);
    if (asked === '/-/whoami') return json(200, { username: 'octo' });
    if (asked !== path) return json(404, { error: 'not found' });
    response.writeHead(200, { 'content-type': 'application/octet-stream' });
    response.end(tarball);
  });
}
