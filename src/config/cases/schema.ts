import { z } from 'zod';
import { REASONS } from '../../errors.ts';
import { checked, list, name, oneOf, wrong } from '../fields.ts';

const REASON_CODES = Object.keys(REASONS) as [string, ...string[]];
const REQUEST = 'a request such as GET https://api.example.com/user';
const LABELS = 'a mapping of labels, such as { run: "4711" }';

const text = (what: string) => z.string(wrong(what)).min(1, `is empty; write ${what}`);

/** What a request must get. What is not written may be anything. */
const expectation = z.strictObject({
  verdict: oneOf(['allow', 'deny', 'tunnel']).describe('What becomes of the request.'),
  reason: oneOf(REASON_CODES).optional().describe('The code of the refusal, such as no_rule.'),
  rule: z
    .union([z.null(), name('rule')], { error: 'is not a name; write that of a rule, or null for none' })
    .optional()
    .describe('The rule that decides; null: none does.'),
  inject: z
    .array(
      z.strictObject({
        credential: name('credential').describe('Name in `credentials`.'),
        as: text('a placement such as bearer').optional().describe('The placement, such as bearer.'),
        at: text('a place such as header authorization')
          .optional()
          .describe('The exact place, such as `header authorization`.'),
      }),
      wrong('a list such as [{ credential: github, as: bearer }], or [] for nothing'),
    )
    .optional()
    .describe('All that is injected, in the order of the rule; []: nothing.'),
  dial: checked('host:port', value =>
    /^(?:\[[0-9a-f:.]+\]|[^:\s]+):\d{1,5}$/i.test(value)
      ? undefined
      : 'is not an address; write host:port, such as api.example.com:443',
  )
    .optional()
    .describe('Where the request goes to: host:port, or the address:port of `upstream.resolve`.'),
});

const policyCase = z.strictObject({
  name: text('a name for the case').optional().describe('Stands in reports; default the request.'),
  request: checked(REQUEST, value =>
    /^\S+ \S+$/.test(value) ? undefined : `is not a request; write ${REQUEST}`,
  ).describe('Method and URL. `{stub:NAME}` stands for the session’s stub for credential NAME.'),
  headers: z
    .record(
      z.string().regex(/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/, 'is not the name of a header'),
      checked('the value of a header, in quotes', value =>
        /^[\x20-\x7e]*$/.test(value) ? undefined : 'holds a control, or is not ASCII; write visible ASCII',
      ),
      wrong('a mapping of headers, such as { authorization: "Bearer {stub:github}" }'),
    )
    .optional()
    .describe(
      'Header fields, with `{stub:NAME}` for stubs. With them it is judged what the request holds; without them it has what its rule wants.',
    ),
  as: z
    .strictObject({
      profile: name('profile').default('default').describe('The session’s profile (default: default).'),
      sub: text('the user').optional().describe('The user.'),
      act: text('the agent').optional().describe('The agent instance.'),
      labels: z
        .record(z.string(), text('a text, in quotes'), wrong(LABELS))
        .optional()
        .describe('The session’s labels.'),
    })
    .prefault({})
    .describe('Who asks.'),
  expect: expectation
    .optional()
    .describe('What must become of it; `stubgate test --update` writes what does.'),
});

/** A file of cases. */
export const casesSchema = z
  .strictObject({
    version: z.literal(1, wrong('1')).describe('Always 1.'),
    cases: list(policyCase, 'a list of cases, one `- request: …` item for each', 'write one').describe(
      'Requests, and what must become of them.',
    ),
  })
  .describe('Cases of a policy of Stubgate.');

export type PolicyCase = z.output<typeof policyCase>;
export type Expectation = z.output<typeof expectation>;
