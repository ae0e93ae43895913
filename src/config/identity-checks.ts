import type { Path, Report } from './document.ts';
import { items, mapping, type Mapping } from './raw.ts';
import { suggest } from './words.ts';

/** What `identity` says about the rest of a file, whose form may be wrong in places. */
export function checkIdentity(root: Mapping, report: Report): void {
  const known = root['profiles'] === undefined ? ['default'] : Object.keys(mapping(root['profiles']));
  const { tls } = mapping(root['listen']);
  let hasCertificates = false;
  for (const [i, entry] of items(root['identity']).map(mapping).entries()) {
    checkProfile(entry['profile'], ['identity', i, 'profile'], known, report);
    if (entry['type'] !== 'client-certificate') continue;
    hasCertificates = true;
    if (tls === undefined)
      report(
        ['identity', i, 'type'],
        'needs TLS on the proxy listener; write `listen: { tls: { cert_file: …, key_file: … } }`',
      );
  }
  if (mapping(tls)['client_certificates'] === 'required' && !hasCertificates)
    report(
      ['listen', 'tls', 'client_certificates'],
      'is required, but no entry of `identity` takes one; write one with `type: client-certificate`',
    );
}

function checkProfile(profile: unknown, path: Path, known: readonly string[], report: Report): void {
  if (typeof profile === 'string') {
    if (!known.includes(profile)) report(path, `names no profile of this file; ${suggest(profile, known)}`);
    return;
  }
  for (const [value, named] of Object.entries(mapping(mapping(profile)['values'])))
    if (typeof named === 'string') checkProfile(named, [...path, 'values', value], known, report);
}
