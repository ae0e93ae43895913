import { writeFileSync } from 'node:fs';
import { z } from 'zod';
import { placements } from '../inject/index.ts';
import { minters } from '../mint/index.ts';
import { vaultTypes } from '../vaults/index.ts';
import { casesSchema } from './cases/schema.ts';
import { configSchema } from './schema.ts';

/** The JSON Schema of the configuration file, for editors. */
export function configJsonSchema(): string {
  const schema = z.toJSONSchema(configSchema(vaultTypes, placements, minters), {
    io: 'input',
    unrepresentable: 'any',
  });
  return `${JSON.stringify({ title: 'Stubgate configuration', ...schema }, null, 2)}\n`;
}

/** The JSON Schema of a file of cases. */
export function casesJsonSchema(): string {
  const schema = z.toJSONSchema(casesSchema, { io: 'input', unrepresentable: 'any' });
  return `${JSON.stringify({ title: 'Stubgate policy cases', ...schema }, null, 2)}\n`;
}

if (import.meta.main) {
  writeFileSync(new URL('../../config/stubgate.schema.json', import.meta.url), configJsonSchema());
  writeFileSync(new URL('../../config/cases.schema.json', import.meta.url), casesJsonSchema());
}
