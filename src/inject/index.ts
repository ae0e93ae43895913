import { Registry } from '../registry.ts';
import type { Placement } from '../types.ts';
import { basic } from './basic.ts';
import { bearer } from './bearer.ts';
import { header } from './header.ts';
import { query } from './query.ts';

export const placements = new Registry<Placement>([bearer, basic, header, query]);
