import { PRESETS } from '../../src/cli/presets/index.ts';
import type { Preset, PresetContext, PresetMaker } from '../../src/cli/presets/preset.ts';

export const context: PresetContext = {
  repository: host => (host === 'gitlab.com' ? 'acme/tools/app' : 'acme/app'),
  registry: client =>
    new URL(`${client === 'twine' ? 'https' : 'http'}://registry.${client}.test:8443/repository/${client}/`),
};

export const NAMES = Object.keys(PRESETS);

export function preset(name: string): Preset {
  return (PRESETS[name] as PresetMaker)(context);
}
