import { Registry } from '../registry.ts';
import type { Placement } from '../types.ts';
import { awsSigV4 } from './aws-sigv4.ts';
import { basic } from './basic.ts';
import { bearer } from './bearer.ts';
import { cookie } from './cookie.ts';
import { form } from './form.ts';
import { header } from './header.ts';
import { json } from './json.ts';
import { path } from './path.ts';
import { query } from './query.ts';
import { websocket } from './websocket.ts';

export const placements = new Registry<Placement>([
  bearer,
  basic,
  header,
  query,
  path,
  cookie,
  json,
  form,
  awsSigV4,
  websocket,
]);
