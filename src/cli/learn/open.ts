import { parseConfig } from '../../config/load.ts';
import type { Config } from '../../config/types.ts';
import { canonicalRuleHost } from '../../policy/host.ts';
import { UsageError } from '../fail.ts';
import type { RawRule } from './rules.ts';

/** A name that no rule has. */
export function freeName({ rules }: Config): string {
  const names = new Set(rules.map(({ name }) => name));
  for (let n = 1; ; n++) if (!names.has(`learn-${n}`)) return `learn-${n}`;
}

/** The configuration with one more rule at its end, which gives no credential. */
export function withOpenRule(
  config: Config,
  profile: string,
  name: string,
  hosts: readonly string[],
): Config {
  const found = config.profiles.get(profile);
  if (!found) return config;
  const { rules } = parseConfig(JSON.stringify({ version: 1, rules: [openRule(name, hosts)] }), config.file);
  const profiles = new Map(config.profiles).set(profile, { ...found, rules: [...found.rules, name] });
  return { ...config, rules: [...config.rules, ...rules], profiles };
}

function openRule(name: string, hosts: readonly string[]): RawRule {
  const parts = hosts.map(host => /^(.*?)(?::(\d{1,5}))?$/.exec(host) as RegExpExecArray);
  const names = parts.map(([host, bare = '']) => {
    if (canonicalRuleHost(bare) === undefined)
      throw new UsageError(
        `--allow ${host}: write a host such as api.example.com, *.example.com or HOST:PORT`,
      );
    return bare;
  });
  const further = parts.flatMap(([, , port]) => (port === undefined ? [] : [Number(port)]));
  if (further.some(port => port < 1 || port > 65_535)) throw new UsageError('--allow: a port is 1 to 65535');
  return { name, hosts: names, ports: [...new Set([443, 80, ...further])], schemes: ['https', 'http'] };
}
