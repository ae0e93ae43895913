import { fault } from './fault.ts';

const PATH = "[!$%&'()*+,\\-./0-9:;=@A-Z[\\]_a-z~]*";
/** Browsers and SDKs leave `"<>^`{|}` unescaped in a query; a backslash or a `#` is never one. */
const QUERY = '(?:\\?[!"$-[\\]-~]*)?';
const AUTHORITY = '[A-Za-z0-9.\\-_:[\\]]+';

const ORIGIN_FORM = new RegExp(`^/(?!/)${PATH}${QUERY}$`);
const ABSOLUTE_FORM = new RegExp(`^http://${AUTHORITY}(?:/${PATH})?${QUERY}$`);
const AUTHORITY_FORM = new RegExp(`^${AUTHORITY}$`);

/**
 * Checks a request target's form and characters (RFC 9112, section 3.2). `isProxy`: the connection is the proxy's
 * own, where CONNECT and absolute-form stand; otherwise only origin-form and `OPTIONS *`.
 */
export function checkTarget(method: string, target: string, isProxy: boolean): void {
  if (method === 'CONNECT') return checkConnect(target, isProxy);
  if (ORIGIN_FORM.test(target) || (method === 'OPTIONS' && target === '*')) return;
  if (isProxy && ABSOLUTE_FORM.test(target)) return;
  throw fault('malformed_request', whatIsWrong(target, isProxy));
}

function checkConnect(target: string, isProxy: boolean): void {
  if (!isProxy) throw fault('malformed_request', 'CONNECT inside a tunnel');
  if (!AUTHORITY_FORM.test(target)) throw fault('malformed_request', 'CONNECT needs host:port as its target');
}

function whatIsWrong(target: string, isProxy: boolean): string {
  if (target.includes('#')) return 'The request target holds a fragment';
  if (target.includes('\\')) return 'The request target holds a backslash';
  if (target.startsWith('//')) return 'The request target starts with two slashes';
  if (/^https:/i.test(target)) return 'An https URL needs CONNECT';
  if (/^[a-z][a-z0-9+.-]*:/i.test(target)) {
    if (!isProxy) return 'An absolute URL as the target inside a tunnel';
    return 'An absolute URL as the target must be http://host[:port]/path, without a user name';
  }
  if (!target.startsWith('/')) return 'The request target must start with a slash';
  return 'The request target holds a character that must be percent-encoded';
}
