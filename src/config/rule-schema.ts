import { z } from 'zod';
import { canonicalHost, canonicalRuleHost } from '../policy/host.ts';
import { globFault } from '../policy/glob.ts';
import type { Registry } from '../registry.ts';
import { capturePlaces } from '../capture/index.ts';
import { checked, flag, integer, kindOf, list, listed, name, oneOf, parsed } from './fields.ts';
import { parseDuration } from './scalars.ts';

const HOST_EXAMPLE = 'a host such as api.example.com, *.example.com or 192.0.2.1';

/** A row of the table. */
export function ruleSchema(placements: Registry<unknown>) {
  return z.strictObject({
    name: name('rule').describe('Stands in the audit and in refusals.'),
    action: oneOf(['allow', 'deny', 'tunnel'])
      .default('allow')
      .describe('allow (default), deny, or tunnel: bytes pass unread, nothing can be injected.'),
    hosts: list(parsedHost(), `a list of hosts, such as [api.example.com]`, `write ${HOST_EXAMPLE}`).describe(
      '`a.example.com` is itself only; `*.example.com` is any depth below it, not itself. IP addresses only if written.',
    ),
    ports: list(integer(1, 65_535), 'a list of ports, such as [443]', 'leave it out for the default')
      .optional()
      .describe('Default 443, and 80 for http.'),
    schemes: list(oneOf(['https', 'http']), '[https], [http] or both', 'leave it out for [https]')
      .default(['https'])
      .describe('Default [https]; plain http must be asked for.'),
    methods: list(
      checked('a method', methodFault),
      'a list such as [GET, POST]',
      'leave it out for any method',
    )
      .optional()
      .describe('Default any.'),
    paths: list(checked('a path', globFault), 'a list such as [/repos/acme/**]', 'leave it out for any path')
      .optional()
      .describe('Globs: `*` inside one segment, `**` any depth; default any.'),
    inject: z
      .array(plugins(placements, 'as', 'placement', injection()), {
        error: 'is not a list; write [{ credential: NAME, as: bearer }]',
      })
      .default([])
      .describe('Credentials that replace stubs.'),
    capture: list(
      plugins(capturePlaces, 'at', 'place', capture()),
      'a list such as [{ credential: NAME, at: json, pointer: /access_token }]',
      'leave it out if the answers hand out nothing',
    )
      .optional()
      .describe('New secrets that the answers hand out: the sandbox gets a stub for each.'),
    insecure: flag()
      .default(false)
      .describe('Lets an injection go, and what is captured come, over plain http.'),
    allow_range: flag().default(false).describe('Keeps `Range` on requests that carry an injection.'),
  });
}

function capture() {
  return {
    credential: name('credential').describe('Name in `credentials`, of one with `capture: true`.'),
    ttl: parsed('a time such as 30m, 8h or 24d', parseDuration)
      .optional()
      .describe('How long it may be used (default: as long as the session lives).'),
  };
}

function injection() {
  return {
    credential: name('credential').describe('Name in `credentials`.'),
    when: oneOf(['stub', 'always'])
      .default('stub')
      .describe('stub (default): only where the stub stands; always: whatever the client sent.'),
    required: flag().default(false).describe('Without the stub the request is refused.'),
    foreign: oneOf(['refuse', 'pass'])
      .default('refuse')
      .describe('What happens to a value that is not the stub: refuse (default) or pass.'),
  };
}

/** One variant per registered plug-in: the key that names its type, `common` keys and the plug-in's own. */
export function plugins(registry: Registry<unknown>, key: string, of: string, common: z.ZodRawShape) {
  const variants = registry.types.map(type => {
    const plugin = registry.get(type);
    if (!(plugin?.schema instanceof z.ZodObject))
      throw new TypeError(`the schema of ${type} is not an object`);
    const typed = { ...common, [key]: z.literal(type).describe(plugin.summary), ...plugin.schema.shape };
    // What the plug-in asks of several keys together.
    const checks = (plugin.schema.def.checks ?? []) as z.core.$ZodCheck<Record<string, unknown>>[];
    return z
      .strictObject(typed)
      .check(...checks)
      .describe(plugin.summary);
  });
  const [first, ...rest] = variants;
  if (!first) throw new TypeError(`no ${of} is registered`);
  return z.discriminatedUnion(key, [first, ...rest], {
    error: ({ code, input }) => {
      const kinds = `the kind of ${of}: ${listed(registry.types)}`;
      if (code !== 'invalid_union') return `is ${kindOf(input)}; write a mapping with \`${key}\`, ${kinds}`;
      return `${Object.hasOwn(input as object, key) ? 'is not known' : 'is missing'}; write ${kinds}`;
    },
  });
}

function parsedHost() {
  return z
    .string(`is not text; write ${HOST_EXAMPLE}, in quotes if it starts with *`)
    .transform((text, context) => {
      const host = canonicalRuleHost(text);
      if (host !== undefined) return host;
      context.issues.push({ code: 'custom', message: hostFault(text), input: undefined });
      return z.NEVER;
    });
}

function hostFault(text: string): string {
  if (text.includes('://'))
    return 'is a URL; write the host alone, and use `schemes`, `ports` and `paths` for the rest';
  if (text.includes('/')) return 'holds a path; write the host alone, and the path in `paths`';
  if (text.includes('*'))
    return 'has a `*` in the wrong place; write *.example.com for all hosts below example.com';
  if (/:\d+$/.test(text) && canonicalHost(text.replace(/:\d+$/, '')) !== undefined) {
    return 'holds a port; write the host alone, and the port in `ports`';
  }
  return `is not a host; write ${HOST_EXAMPLE}`;
}

function methodFault(text: string): string | undefined {
  if (text === 'CONNECT')
    return 'is no method of a request; to let tunnels pass unread, write action: tunnel';
  if (/^[A-Z][A-Z_-]*$/.test(text)) return undefined;
  return /^[A-Za-z][A-Za-z_-]*$/.test(text)
    ? 'is not in upper case; methods are case-sensitive, write them like GET'
    : 'is not a method; write one such as GET, or leave `methods` out for any';
}
