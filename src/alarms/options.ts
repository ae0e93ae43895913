/** Where a secret of the gate's own is: never in the configuration. One of the two is there. */
export interface Place {
  readonly file?: string;
  readonly env?: string;
}

export interface WebhookOptions {
  /** Https, or http on this machine; or where it is, if it is a secret itself. */
  readonly url: string | Place;
  /** Where the key of the signature is; absent: nothing is signed. */
  readonly secret?: Place;
  readonly timeoutMs: number;
}

export interface AlarmOptions {
  /** What becomes of the session, unless its profile says another. */
  readonly onAlarm: 'log' | 'revoke';
  /** Absent: none is sent. */
  readonly webhook?: WebhookOptions;
}

const places = ({ webhook }: AlarmOptions): readonly Place[] =>
  [webhook?.url, webhook?.secret].filter(place => typeof place === 'object');

/** Variables of the gate that no sandbox may inherit. */
export function alarmVariables(options: AlarmOptions): string[] {
  return places(options).flatMap(({ env }) => env ?? []);
}

/** Files of the gate that no sandbox may read. */
export function alarmFiles(options: AlarmOptions): string[] {
  return places(options).flatMap(({ file }) => file ?? []);
}
