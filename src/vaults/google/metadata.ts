import { VaultError } from '../../types.ts';
import type { Exchanged } from '../exchange.ts';
import type { Transport } from '../transport.ts';

/**
 * What the metadata server of Google Cloud (GCE, GKE, Cloud Run) says of the machine's service account, `path` below it.
 * The SDK's own client is not used: it obeys proxy variables, and asks other addresses whether there is a server.
 */
export async function metadata(transport: Transport, path: string, signal: AbortSignal): Promise<string> {
  const { GCE_METADATA_HOST, GCE_METADATA_IP, METADATA_SERVER_DETECTION } = process.env;
  if (METADATA_SERVER_DETECTION?.trim().toLowerCase() === 'none') throw nobody('is switched off');
  const host = GCE_METADATA_IP || GCE_METADATA_HOST || 'metadata.google.internal';
  const url = URL.parse(`http://${host}/computeMetadata/v1/instance/service-accounts/default/${path}`);
  if (!url || url.hash !== '' || url.username !== '')
    throw nobody('has no valid address in GCE_METADATA_HOST');
  let answer: Exchanged;
  try {
    const headers = { 'metadata-flavor': 'Google' };
    answer = await transport.send({ method: 'GET', url, headers, insecure: true }, signal);
  } catch {
    throw nobody('does not answer');
  }
  if (answer.headers['metadata-flavor'] !== 'Google') throw nobody('is not one of Google');
  if (answer.status === 200) return answer.text;
  if (answer.status === 404)
    throw new VaultError('unavailable', 'this machine has no service account (404); attach one to it');
  throw new VaultError('unavailable', `the metadata server answered ${answer.status}; try again later`);
}

function nobody(why: string): VaultError {
  return new VaultError(
    'unavailable',
    `the gate has no identity on Google Cloud: the metadata server ${why}; write "credentials_file", or set GOOGLE_APPLICATION_CREDENTIALS`,
  );
}
