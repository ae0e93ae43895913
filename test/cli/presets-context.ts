import { PRESETS } from '../../src/cli/presets/index.ts';
import type { Preset, PresetContext, PresetMaker } from '../../src/cli/presets/preset.ts';
import { placements } from '../../src/inject/index.ts';

export const context: PresetContext = {
  repository: host => (host === 'gitlab.com' ? 'acme/tools/app' : 'acme/app'),
  registry: client =>
    new URL(`${client === 'twine' ? 'https' : 'http'}://registry.${client}.test:8443/repository/${client}/`),
};

/** Presets whose placement this gate does not have. */
export const WAITING = Object.keys(PRESETS).filter(name =>
  preset(name).rules.some(({ inject = [] }) => inject.some(({ as }) => !placements.types.includes(as))),
);

export const NAMES = Object.keys(PRESETS).filter(name => !WAITING.includes(name));

export function preset(name: string): Preset {
  return (PRESETS[name] as PresetMaker)(context);
}
