import { Registry } from '../registry.ts';
import type { CapturePlace } from '../types.ts';
import { awsJson } from './aws-json.ts';
import { form } from './form.ts';
import { header } from './header.ts';
import { json } from './json.ts';
import { setCookie } from './set-cookie.ts';
import { sts } from './sts.ts';

/** Where answers hand out secrets. */
export const capturePlaces = new Registry<CapturePlace>([json, form, header, setCookie, sts, awsJson]);
