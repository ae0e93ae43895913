import type { PackageClient } from '../registries.ts';

/** A part of a configuration: entries of `credentials` and of `rules`, and the cases that hold for them. */
export interface Preset {
  /** Whose service it is, as people call it. */
  readonly title: string;
  /** What its rules allow. */
  readonly summary: string;
  /** What is to be known before it is used: what the rules leave open, and which words are to be replaced. */
  readonly note?: string;
  readonly credentials: Readonly<Record<string, CredentialRow>>;
  readonly rules: readonly RuleRow[];
  /** Requests, by the rule that decides them. */
  readonly allows: Readonly<Record<string, readonly string[]>>;
  /** Requests that no rule allows: those next to it that publish, delete, or hand the account on. */
  readonly denies: readonly string[];
}

export interface CredentialRow {
  /** `<vault>:<id>`; default the variable of the stub, in the gate's own environment. */
  readonly from?: string;
  /** Where the vendor's client looks for its credential. */
  readonly variable: string;
  /** As in `stub.shape`. */
  readonly shape?: string;
  readonly mint?: Readonly<Record<string, string>>;
}

/** As in the configuration. */
export interface RuleRow {
  readonly name: string;
  readonly hosts: readonly string[];
  readonly ports?: readonly number[];
  readonly schemes?: readonly string[];
  readonly methods: readonly string[];
  readonly paths: readonly string[];
  readonly allow_range?: boolean;
  readonly inject?: readonly InjectRow[];
}

export type InjectRow = Readonly<{ credential: string; as: string }> &
  Readonly<Record<string, string | readonly string[]>>;

/** What a preset is made for. */
export interface PresetContext {
  /** Path of the repository that the command stands in, if it is one of that host. */
  readonly repository: (host: string) => string | undefined;
  /** The package index that a client's own settings name. Throws an Error that says what to set. */
  readonly registry: (client: PackageClient) => URL;
}

export type PresetMaker = (context: PresetContext) => Preset;

/** A service with one key, one host and one rule, all of the preset's name. */
export interface Api {
  readonly title: string;
  readonly summary: string;
  readonly note?: string;
  readonly variable: string;
  readonly shape: string;
  readonly host: string;
  readonly methods?: readonly string[];
  readonly paths: readonly string[];
  /** Default bearer. */
  readonly as?: readonly Readonly<Record<string, string>>[];
  /** Method and path. */
  readonly allows: readonly string[];
  readonly denies: readonly string[];
}

export function api(name: string, of: Api): Record<string, PresetMaker> {
  const { title, summary, note, variable, shape, host, paths, methods = ['GET', 'POST'] } = of;
  const at = (requests: readonly string[]) =>
    requests.map(request => request.replace(' ', ` https://${host}`));
  const preset: Preset = {
    title,
    summary,
    ...(note !== undefined && { note }),
    credentials: { [name]: { variable, shape } },
    rules: [
      {
        name,
        hosts: [host],
        methods,
        paths,
        inject: (of.as ?? [{ as: 'bearer' }]).map(
          placement => ({ credential: name, ...placement }) as InjectRow,
        ),
      },
    ],
    allows: { [name]: at(of.allows) },
    denies: at(of.denies),
  };
  return { [name]: () => preset };
}
