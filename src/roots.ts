import { getCACertificates, rootCertificates } from 'node:tls';

/**
 * The roots that the system trusts, PEM; Node's own where it has none. Each once: a folder of OpenSSL's holds each of them
 * under several names, and each one costs time wherever the list is read.
 */
export function systemRoots(): readonly string[] {
  const system = new Set(getCACertificates('system'));
  return system.size > 0 ? [...system] : rootCertificates;
}
