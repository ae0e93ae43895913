import { compileTable, decide, type RuleSpec } from '../../policy/table.ts';
import type { CanonicalHost } from '../../types.ts';
import type { Config } from '../types.ts';
import type { Check, Find } from './finding.ts';
import { WAYS_OUT } from './ways-out.ts';

/** Domains of one owner that do not look like it. Any that shares two labels, or the last but one, counts as one anyway. */
const SAME_OWNER: readonly ReadonlySet<string>[] = [
  ['github.com', 'githubusercontent.com', 'githubcopilot.com', 'github.io', 'visualstudio.com'],
  ['google.com', 'googleapis.com', 'gstatic.com', 'googleusercontent.com', 'youtube.com'],
  [
    'microsoft.com',
    'microsoftonline.com',
    'azure.com',
    'azure.net',
    'windows.net',
    'live.com',
    'office.com',
    'office365.com',
    'visualstudio.com',
    'sharepoint.com',
    'github.com',
  ],
  ['amazon.com', 'amazonaws.com', 'awsstatic.com', 'aws.dev', 'aws'],
  ['atlassian.com', 'atlassian.net', 'bitbucket.org', 'jira.com', 'trello.com'],
  ['dropbox.com', 'dropboxapi.com', 'dropboxusercontent.com'],
  ['huggingface.co', 'hf.co'],
  ['openai.com', 'chatgpt.com', 'oaiusercontent.com'],
  ['anthropic.com', 'claude.ai', 'claude.com'],
  ['slack.com', 'slack-edge.com', 'slack-files.com'],
  ['twitter.com', 'x.com', 'twimg.com'],
  ['facebook.com', 'fbcdn.net', 'meta.com', 'instagram.com', 'whatsapp.com'],
  ['telegram.org', 't.me', 'telegram.me'],
  ['notion.so', 'notion.com'],
  ['discord.com', 'discordapp.com', 'discord.gg', 'discordapp.net'],
].map(domains => new Set(domains));

/** How far each credential reaches. */
export const checkReach: Check = ({ config }, find) => {
  checkWaysOut(config, find);
  for (const [i, rule] of config.rules.entries()) {
    if (rule.action !== 'deny' && rule.hosts.includes('*')) {
      const what = rule.action === 'tunnel' ? 'passes unread to every host' : 'is allowed to every host';
      find(
        'SG015',
        ['rules', i, 'hosts'],
        `what rule ${rule.name} matches ${what} there is`,
        'name the hosts',
      );
    }
    if (rule.injections.length > 0) checkInjecting(rule, i, find);
  }
  checkOwners(config, find);
};

function checkInjecting(rule: RuleSpec, i: number, find: Find): void {
  for (const [j, host] of rule.hosts.entries()) {
    if (!host.startsWith('*.')) continue;
    const message = `rule ${rule.name} sends a credential to every host below ${host.slice(2)}, also to one that is added, or taken over, later`;
    find('SG004', ['rules', i, 'hosts', j], message, 'name the hosts');
  }
  const isWide = rule.paths === undefined || rule.paths.includes('/**');
  const places = rule.injections.some(({ placement }) => placement.type === 'path');
  if (isWide && !places && !rule.methods?.every(method => method === 'GET' || method === 'HEAD')) {
    const message = `rule ${rule.name} lets its credential do whatever it may at ${rule.hosts.join(', ')}`;
    find('SG005', ['rules', i, 'name'], message, 'write the `methods` and `paths` that are needed');
  }
}

/** Asks the tables themselves: what is told is what the gate lets pass. */
function checkWaysOut({ rules, profiles }: Config, find: Find): void {
  const told = new Set<string>();
  const named = new Set(rules.flatMap(({ hosts }) => hosts));
  const ways = WAYS_OUT.filter(({ host }) =>
    [...named].some(of => of === host || (of.startsWith('*') && host.endsWith(of.slice(1)))),
  );
  if (ways.length === 0) return;
  for (const { rules: chosen } of profiles.values()) {
    const names = new Set(chosen);
    const table = compileTable(rules.filter(({ name }) => names.has(name)));
    for (const { host, method, path, does } of ways) {
      const target = { scheme: 'https', host: host as CanonicalHost, port: 443, method, path } as const;
      const decision = decide(table, target);
      if (decision.verdict !== 'allow' || decision.rule.injections.length === 0) continue;
      const { name } = decision.rule;
      if (told.has(name)) continue;
      told.add(name);
      const i = rules.findIndex(rule => rule.name === name);
      const message = `rule ${name} allows ${method} https://${host}${path} with a credential, which ${does}`;
      find(
        'SG003',
        ['rules', i, 'name'],
        message,
        'write the `methods` and `paths` that are needed, no wider',
      );
    }
  }
}

function checkOwners({ rules }: Config, find: Find): void {
  const firsts = new Map<string, { domain: string; rule: string }>();
  const told = new Set<string>();
  for (const [i, rule] of rules.entries()) {
    for (const { credential } of rule.injections) {
      for (const [j, host] of rule.hosts.entries()) {
        const domain = domainOf(host);
        if (domain === undefined || told.has(credential)) continue;
        const first = firsts.get(credential);
        if (!first) firsts.set(credential, { domain, rule: rule.name });
        else if (!isOneOwner(first.domain, domain)) {
          told.add(credential);
          const message = `credential ${credential} goes to ${domain} here, and to ${first.domain} by rule ${first.rule}: each of the two owners gets what opens the other`;
          find('SG014', ['rules', i, 'hosts', j], message, 'give each owner a credential of its own');
        }
      }
    }
  }
}

/** Names that nobody registers: whoever runs the network owns them all. */
const PRIVATE =
  /(?:^|\.)(?:local|localhost|localdomain|internal|intranet|private|corp|home|lan|test|home\.arpa)$/;

/**
 * What of a host its owner registered. Without a list of public suffixes: the last two labels, or three below what looks
 * like `co.uk`. Where that is too little, two owners are taken for one.
 */
function domainOf(host: string): string | undefined {
  const labels = host.replace(/^\*\.?/, '').split('.');
  if (host.includes(':') || /^[\d.]+$/.test(host) || labels.length < 2 || PRIVATE.test(host))
    return undefined;
  return labels.slice(/^[a-z]{1,3}\.[a-z]{2}$/.test(labels.slice(-2).join('.')) ? -3 : -2).join('.');
}

function isOneOwner(a: string, b: string): boolean {
  // example.com, example.org and example.co.uk may be one owner's.
  if (a.split('.')[0] === b.split('.')[0]) return true;
  return SAME_OWNER.some(domains => domains.has(a) && domains.has(b));
}
