import { createHash } from 'node:crypto';
import { type HttpUpstream, startHttp } from '../upstream.ts';
import { basicOf } from './basic.ts';
import { zip } from './zip.ts';

export interface PypiOptions {
  host: string;
  /** `user:password` that the index asks for. */
  credential: string;
  /** Name of the one distribution, letters only; version 1.0; `<name>.GREETING` is `'from the private index'`. */
  distribution: string;
}

/** A wheel (PEP 427) of one module. */
function wheel(name: string): Buffer {
  const info = `${name}-1.0.dist-info`;
  const files: Record<string, string> = {
    [`${name}.py`]: "GREETING = 'from the private index'\n",
    [`${info}/METADATA`]: `Metadata-Version: 2.1\nName: ${name}\nVersion: 1.0\n`,
    [`${info}/WHEEL`]: 'Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n',
  };
  const record = [...Object.keys(files), `${info}/RECORD`].map(path => `${path},,\n`).join('');
  return zip({ ...files, [`${info}/RECORD`]: record });
}

/** A private package index (PEP 503) behind Basic. */
export function startPypi(options: PypiOptions): Promise<HttpUpstream> {
  const file = wheel(options.distribution);
  const path = `/files/${options.distribution}-1.0-py3-none-any.whl`;
  const digest = createHash('sha256').update(file).digest('hex');
  const page = `<!DOCTYPE html><html><body><a href="${path}#sha256=${digest}">${path.slice(7)}</a></body></html>`;
  return startHttp({ hosts: [options.host] }, (request, response) => {
    if (basicOf(request) !== options.credential) {
      response.writeHead(401, { 'www-authenticate': 'Basic realm="index"' });
      return void response.end();
    }
    if (request.url === `/simple/${options.distribution}/`) {
      response.writeHead(200, { 'content-type': 'text/html' });
      return void response.end(page);
    }
    const found = request.url === path;
    response.writeHead(found ? 200 : 404, { 'content-type': 'application/octet-stream' });
    response.end(found ? file : '');
  });
}
