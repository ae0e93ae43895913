import { nodePeer } from './node-peer.ts';

/** The usual library in Node; HTTP/1.1 only. */
export const httpMitmProxy = nodePeer({
  name: 'http-mitm-proxy',
  module: 'http-mitm-proxy',
  caFile: 'certs/ca.pem',
});
