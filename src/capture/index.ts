import { Registry } from '../registry.ts';
import type { CapturePlace } from '../types.ts';
import { form } from './form.ts';
import { header } from './header.ts';
import { json } from './json.ts';
import { sts } from './sts.ts';

/** Where answers hand out secrets. */
export const capturePlaces = new Registry<CapturePlace>([json, form, header, sts]);
