import { CLOUDS } from './clouds.ts';
import { CODE } from './code.ts';
import { MODELS } from './models.ts';
import { PACKAGES } from './packages.ts';
import type { PresetMaker } from './preset.ts';
import { SERVICES } from './services.ts';
import { WORK } from './work.ts';

/** In the order of the documentation. */
export const GROUPS: readonly { readonly title: string; readonly presets: typeof MODELS }[] = [
  { title: 'Models', presets: MODELS },
  { title: 'Code', presets: CODE },
  { title: 'Clouds', presets: CLOUDS },
  { title: 'Work and chat', presets: WORK },
  { title: 'Services', presets: SERVICES },
  { title: 'Packages', presets: PACKAGES },
];

export const PRESETS: Readonly<Record<string, PresetMaker>> = Object.assign(
  {},
  ...GROUPS.map(({ presets }) => presets),
);
