import { nodePeer } from './node-peer.ts';

/** What HTTP Toolkit is built on. */
export const mockttp = nodePeer({ name: 'mockttp', module: 'mockttp', caFile: 'ca.pem' });
