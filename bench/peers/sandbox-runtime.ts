import { nodePeer } from './node-peer.ts';

/** The proxy of a sandbox for agents, with its TLS termination on. */
export const sandboxRuntime = nodePeer({
  name: 'sandbox-runtime',
  module: '@anthropic-ai/sandbox-runtime',
  caFile: 'ca.pem',
});
