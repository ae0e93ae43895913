import type { Compiled } from '../config/types.ts';
import type { LimitsOptions } from '../limits/limiter.ts';

/** The limits of a configuration, by the names of profiles and credentials. */
export function budgetsOf({ config, profiles }: Pick<Compiled, 'config' | 'profiles'>): LimitsOptions {
  return {
    profiles: new Map(
      [...profiles].flatMap(([name, { limits }]) => (limits ? [[name, limits] as const] : [])),
    ),
    credentials: new Map(
      [...config.credentials].flatMap(([name, { limits }]) => (limits ? [[name, limits] as const] : [])),
    ),
  };
}

/** What profiles say themselves of alarms. */
export function onAlarmOf({ profiles }: Pick<Compiled, 'profiles'>): Map<string, 'log' | 'revoke'> {
  return new Map([...profiles].flatMap(([name, { onAlarm }]) => (onAlarm ? [[name, onAlarm] as const] : [])));
}
