import { writeFileSync } from 'node:fs';
import { z } from 'zod';
import { placements } from '../inject/index.ts';
import { minters } from '../mint/index.ts';
import { vaultTypes } from '../vaults/index.ts';
import { configSchema } from './schema.ts';

/** The JSON Schema of the configuration file, for editors. */
export function configJsonSchema(): string {
  const schema = z.toJSONSchema(configSchema(vaultTypes, placements, minters), {
    io: 'input',
    unrepresentable: 'any',
  });
  return `${JSON.stringify({ title: 'Stubgate configuration', ...schema }, null, 2)}\n`;
}

if (import.meta.main) {
  writeFileSync(new URL('../../config/stubgate.schema.json', import.meta.url), configJsonSchema());
}
