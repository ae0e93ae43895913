import { hash } from 'node:crypto';

/**
 * A Java trust store (JKS version 2, as sun.security.provider.JavaKeyStore reads it) from PEM certificates. Every JDK
 * reads it, and needs no password for it; it is written here because `keytool` exists only where a JDK does, and takes
 * a second per certificate.
 */
export function javaTrustStore(certificates: readonly string[], now: number): Buffer {
  const entries = certificates.flatMap((pem, i) => trustedEntry(`ca-${i}`, toDer(pem), now));
  const content = Buffer.concat([uint32(0xfeedfeed), uint32(2), uint32(certificates.length), ...entries]);
  return Buffer.concat([content, digest(content)]);
}

function trustedEntry(alias: string, der: Buffer, now: number): Buffer[] {
  const created = Buffer.alloc(8);
  created.writeBigUInt64BE(BigInt(now));
  return [uint32(2), utf(alias), created, utf('X.509'), uint32(der.length), der];
}

/** Over the password in UTF-16, a fixed text and the content; checked by a reader that was given the password only. */
function digest(content: Buffer): Buffer {
  const password = Buffer.from('changeit', 'utf16le').swap16();
  return hash('sha1', Buffer.concat([password, Buffer.from('Mighty Aphrodite'), content]), 'buffer');
}

function toDer(pem: string): Buffer {
  return Buffer.from(pem.replace(/-----[^-]+-----|\s/g, ''), 'base64');
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

/** java.io.DataOutput.writeUTF, of ASCII. */
function utf(text: string): Buffer {
  return Buffer.concat([Buffer.from([text.length >> 8, text.length & 0xff]), Buffer.from(text, 'latin1')]);
}
