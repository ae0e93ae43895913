import { exchangesSession } from '../../mint/index.ts';
import { compileTable, decide } from '../../policy/table.ts';
import type { CanonicalHost } from '../../types.ts';
import type { Config, Credential, ProfileEntry } from '../types.ts';
import type { Check } from './finding.ts';

/** Credentials that are exchanged for the session's own token: whether there is one, and who else could exchange it. */
export const checkSubjects: Check = ({ config }, find) => {
  const { credentials, rules, profiles } = config;
  const told = new Set<string>();
  for (const profile of profiles.values()) {
    const chosen = rules.filter(({ name }) => profile.rules.includes(name));
    const names = new Set(chosen.flatMap(rule => rule.injections.map(({ credential }) => credential)));
    for (const credential of credentials.values()) {
      const { name, mint } = credential;
      if (!mint || !names.has(name) || told.has(name)) continue;
      if (!exchangesSession({ type: mint.type, ...mint.options })) continue;
      const path = ['credentials', name, 'mint', 'subject'];
      if (!hasJwt(config, profile)) {
        told.add(name);
        const message = `no \`identity\` of type jwt opens sessions under profile ${profile.name}: there, credential ${name} works only in those that are created with a subject token`;
        find('SG024', path, message, 'write such an identity, or create sessions with --subject-token-file');
        continue;
      }
      const rule = wayTo(credential, compileTable(chosen));
      if (rule === undefined) continue;
      told.add(name);
      const message = `rule ${rule} lets sandboxes to the token_url of credential ${name}, which asks for nothing but the JWT that they hold themselves`;
      find(
        'SG025',
        path,
        message,
        'write client_id and client_secret, or an actor_token, or narrow the rule',
      );
    }
  }
};

function hasJwt({ identity }: Config, { name }: ProfileEntry): boolean {
  return identity.some(({ type, profile }) => {
    const leads = typeof profile === 'string' ? [profile] : [...profile.values.values()];
    return type === 'jwt' && leads.includes(name);
  });
}

/** The rule by which a sandbox could exchange its JWT as the gate does. */
function wayTo({ mint }: Credential, table: ReturnType<typeof compileTable>): string | undefined {
  if (mint?.refs.has('client_secret') || mint?.refs.has('actor_token')) return undefined;
  const { protocol, hostname, port, pathname } = new URL(String(mint?.options['token_url']));
  const scheme = protocol === 'http:' ? 'http' : 'https';
  const host = hostname.replace(/^\[|\]$/g, '') as CanonicalHost;
  const at = port === '' ? (scheme === 'http' ? 80 : 443) : Number(port);
  const decision = decide(table, { scheme, host, port: at, method: 'POST', path: pathname });
  return decision.verdict === 'allow' ? decision.rule.name : undefined;
}
