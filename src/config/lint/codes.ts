/** How much a finding counts: `check` exits 1 for a warning, and with `--strict` for a note, too. */
export type Level = 'warning' | 'note';

interface Code {
  readonly level: Level;
  /** What is wrong, in a line; docs/checks.md says the same. */
  readonly title: string;
}

const warning = (title: string): Code => ({ level: 'warning', title });
const note = (title: string): Code => ({ level: 'note', title });

/** Everything that `check` finds in a valid configuration. A code is never given another meaning. */
export const CODES = {
  SG001: warning('A rule that no request reaches'),
  SG002: warning('A rule that denies, below one that allows a part of the same'),
  SG003: warning('A credential on a way out that everybody can read'),
  SG004: warning('A credential for every host below a name'),
  SG005: note('A credential for every path of a host'),
  SG006: warning('A credential that no rule injects'),
  SG007: warning('A vault that no credential is read from'),
  SG008: warning('A rule that stands in no profile'),
  SG009: warning('Something that is declared twice'),
  SG010: warning('A stub that its client will not take'),
  SG011: warning('A secret on its way in plain http'),
  SG012: warning('An address that the gate will never dial'),
  SG013: warning('Private addresses that hold more than an upstream'),
  SG014: warning('A credential for hosts of different owners'),
  SG015: warning('Every host there is'),
  SG016: warning('An address for a host that no rule names'),
  SG017: warning('A comment that silences nothing'),
  SG018: note('Plain http'),
  SG020: warning('No rules'),
  SG021: warning('A control plane that everybody reaches'),
  SG022: warning('A profile without rules'),
  SG023: warning('A profile that names rules in another order'),
  SG024: note('A session’s token that only who creates the session can bring'),
  SG025: warning('A session’s token that its sandbox could exchange itself'),
} as const satisfies Record<string, Code>;

export type CheckCode = keyof typeof CODES;
