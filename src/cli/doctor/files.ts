import { X509Certificate } from 'node:crypto';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { filesOfWorkers } from '../../audit/files.ts';
import type { Config } from '../../config/types.ts';
import { openAuthority } from '../../intercept/ca.ts';
import { readPrivate } from '../../intercept/private-file.ts';
import { errorText } from '../log.ts';
import { shellQuote } from '../output.ts';
import { type Check, failed, type Finding, note, ok, type Patient } from './check.ts';

const DAY = 24 * 3600_000;
/** A clock may be off by this much. ms */
const TOLERANCE = 60_000;
const SOON = 30 * DAY;
const PEM = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;

/** Certificate and key of the CA, wherever they are. */
export const caFiles = ({ ca }: Config): { cert: string; key: string } => ({
  cert: ca.cert ?? join(ca.dir, 'ca.pem'),
  key: ca.key ?? join(ca.dir, 'ca.key'),
});

const day = (ms: number): string => new Date(ms).toISOString().slice(0, 10);

/** Against dates that were written when they were present: no time server is asked. */
export const clock: Check = {
  name: 'clock',
  run: ({ compiled: { config }, now }) => {
    const ahead = datesOf(config).filter(({ at }) => at > now + TOLERANCE);
    if (ahead.length === 0)
      return [ok(`${new Date(now).toISOString()}, after every date that is known here`)];
    const fix = 'set the clock: timedatectl set-ntp true';
    return ahead.map(({ what, at }) =>
      failed(`${what} is of ${new Date(at).toISOString()}, which is still to come`, fix),
    );
  },
};

function datesOf(config: Config): { what: string; at: number }[] {
  const { cert } = caFiles(config);
  const certificates = [cert, config.upstream.caFile].flatMap(file =>
    file === undefined
      ? []
      : certificatesIn(file).map(one => ({ what: `the start of ${file}`, at: one.validFromDate.getTime() })),
  );
  const files = [config.file, config.audit.file, import.meta.filename].filter(existsSync);
  return [...certificates, ...files.map(what => ({ what, at: statSync(what).mtimeMs }))];
}

function certificatesIn(file: string): X509Certificate[] {
  try {
    return (readFileSync(file, 'utf8').match(PEM) ?? []).map(pem => new X509Certificate(pem));
  } catch {
    return [];
  }
}

export const certificateAuthority: Check = {
  name: 'ca',
  run: ({ compiled: { config }, now }) => {
    const { cert, key } = caFiles(config);
    if (!existsSync(cert) && config.ca.cert === undefined)
      return [note(`there is none in ${config.ca.dir} yet; the first start makes it`, 'stubgate ca init')];
    if (!existsSync(cert))
      return [failed(`ca.cert ${cert} is not there`, 'put it there, or correct `ca.cert`')];
    if (!existsSync(key))
      return [
        failed(
          `${cert} is there, its key ${key} is not`,
          'put the key back, or move the certificate away and type: stubgate ca init',
        ),
      ];
    const { notAfter } = openAuthority(config.ca, now);
    const left = Math.floor((notAfter - now) / DAY);
    if (notAfter - now < SOON)
      return [
        failed(`expires on ${day(notAfter)}, in ${left} days`, 'rotate it: docs/certificates.md, "Rotate"'),
      ];
    return [ok(`${cert} and its key belong together, valid until ${day(notAfter)}`)];
  },
};

export const fileModes: Check = {
  name: 'files',
  run: ({ compiled: { config } }) => {
    const { key } = caFiles(config);
    const token = join(config.ca.dir, 'admin-token');
    const secret = [
      [key, 'the CA key'],
      [token, 'the admin token'],
    ] as const;
    const findings = [
      ...secret.flatMap(([file, what]) => privacyOf(file, what)),
      ...[config.file, config.ca.dir].flatMap(writableByOthers),
      ...filesOfWorkers(config.audit.file).flatMap(readableByAll),
    ];
    return findings.length > 0 ? findings : [ok('only you read the keys, and write the configuration')];
  },
};

function privacyOf(file: string, what: string): Finding[] {
  if (!existsSync(file)) return [];
  try {
    readPrivate(file, what);
    return [];
  } catch (error) {
    return [failed(errorText(error as Error), `chmod 600 ${shellQuote(file)}`)];
  }
}

function writableByOthers(file: string): Finding[] {
  const mode = statSync(file, { throwIfNoEntry: false })?.mode ?? 0;
  if ((mode & 0o022) === 0) return [];
  return [
    failed(
      `${file} may be written by others (mode ${(mode & 0o777).toString(8)})`,
      `chmod go-w ${shellQuote(file)}`,
    ),
  ];
}

function readableByAll(file: string): Finding[] {
  const mode = statSync(file, { throwIfNoEntry: false })?.mode ?? 0;
  return (mode & 0o004) === 0
    ? []
    : [note(`every user reads the audit ${file}`, `chmod o-r ${shellQuote(file)}`)];
}

/** Of `upstream.ca_file`. */
export function upstreamCertificates({ compiled: { config }, now }: Patient): Finding[] {
  const { caFile } = config.upstream;
  if (caFile === undefined) return [];
  const all = certificatesIn(caFile);
  const fix = `write certificates in PEM into it, or leave out upstream.ca_file`;
  if (all.length === 0)
    return [failed(`upstream.ca_file ${caFile} holds no certificate that can be read`, fix)];
  const ended = all.filter(one => one.validToDate.getTime() < now);
  if (ended.length === 0)
    return [
      ok(`upstream.ca_file: ${all.length} ${all.length === 1 ? 'certificate' : 'certificates'}, valid`),
    ];
  return ended.map(one =>
    failed(
      `upstream.ca_file: ${one.subject.replaceAll('\n', ', ')} expired on ${day(one.validToDate.getTime())}`,
      `put the new certificate into ${caFile}`,
    ),
  );
}
