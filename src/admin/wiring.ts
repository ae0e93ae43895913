import type { Steered } from '../app/gate.ts';
import type { Session } from '../types.ts';
import { type GitHost, sandboxEnvironment, type TrustFiles } from './environment.ts';

/** What a new session's sandbox is given (contract, section 5). */
export interface SessionAnswer {
  id: string;
  /** With the session's token: shown this once. */
  proxy: string;
  ca_file: string;
  env: Record<string, string>;
  /** RFC 3339, UTC. */
  expires_at: string;
}

export function sessionAnswer(
  gate: Steered,
  trust: TrustFiles,
  session: Session,
  token: string,
): SessionAnswer {
  const proxy = `${gate.isTls ? 'https' : 'http'}://${session.session}:${token}@${reachable(gate.address)}`;
  const stubs = gate.stubEnvironment(session);
  const { hosts, git } = namedHosts(gate, session);
  return {
    id: session.session,
    proxy,
    ca_file: trust.ca,
    env: sandboxEnvironment({ proxy, trust, stubs, hosts, git }),
    expires_at: new Date(session.expiresAt).toISOString(),
  };
}

/** A listener on every address is reached, on this machine, by loopback. */
function reachable({ host, port }: Steered['address']): string {
  const to = host === '0.0.0.0' ? '127.0.0.1' : host === '::' ? '::1' : host;
  return to.includes(':') ? `[${to}]:${port}` : `${to}:${port}`;
}

function namedHosts(gate: Steered, session: Session): { hosts: string[]; git: GitHost[] } {
  const { rules, profiles, credentials } = gate.config;
  const names = profiles.get(session.profile)?.rules ?? [];
  const ours = rules.filter(rule => names.includes(rule.name));
  const git = ours.flatMap(rule => {
    const basic = rule.injections.find(({ placement }) => placement.type === 'basic');
    const variable = basic && credentials.get(basic.credential)?.stub.env;
    return variable === undefined ? [] : rule.hosts.map(host => ({ host, variable }));
  });
  return { hosts: ours.flatMap(rule => rule.hosts), git };
}
