import { parentPort, workerData } from 'node:worker_threads';
import type { Parsed } from './assemble.ts';
import { checkPolicy, readText } from './load.ts';
import { ConfigError, type Problem } from './problems.ts';
import { items, type Mapping } from './raw.ts';

/** Rules that are handed over at a time: each is taken apart and made anew by the thread that serves. */
const AT_A_TIME = 64;

/** What to read. `text`: instead of what the file holds. */
export interface Job {
  readonly file: string;
  readonly text: string | undefined;
}

/** First answer: what is wrong with the file, or all of it but its rules. */
export type Head =
  | { readonly problems: readonly Problem[] }
  | {
      readonly problems?: never;
      readonly parsed: Omit<Parsed, 'rules'>;
      readonly root: Mapping;
      readonly warnings: readonly Problem[];
      readonly text: string;
    };

/** Each further one, when asked for: rules, as checked and as written; none: that was all. */
export type Batch = readonly (readonly [Parsed['rules'][number], unknown])[];

function* answers({ file, text: given }: Job): Generator<Head | Batch> {
  try {
    const text = given ?? readText(file);
    const { parsed, root, warnings } = checkPolicy(text, file);
    const { rules, ...others } = parsed;
    const { rules: written, ...otherwise } = root;
    yield { parsed: others, root: otherwise, warnings, text };
    for (let at = 0; at < rules.length; at += AT_A_TIME)
      yield rules.slice(at, at + AT_A_TIME).map((rule, i) => [rule, items(written)[at + i]] as const);
    yield [];
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    yield { problems: error.problems };
  }
}

const told = answers(workerData as Job);
const port = parentPort;
// oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread has no origin
const tell = (): void => port?.postMessage(told.next().value);
port?.on('message', tell);
tell();
