import { basename } from 'node:path';
import type { Reporter, TestModule } from 'vitest/node';

/** Prints one row per class of attacks: a file is a class, a test is a case. */
export default class AttacksTable implements Reporter {
  onTestRunEnd(modules: readonly TestModule[]): void {
    const rows = modules.map(rowOf).toSorted((a, b) => a[0].localeCompare(b[0]));
    const total = ['all', ...[1, 2, 3].map(column => sum(rows.map(row => Number(row[column]))))];
    const table = [['class', 'cases', 'passed', 'failed'], ...rows, total];
    const width = Math.max(...table.map(([name = '']) => name.length));
    for (const [name = '', ...counts] of table)
      console.log(name.padEnd(width), counts.map(count => count.padStart(8)).join(''));
    for (const module of modules) {
      for (const test of module.children.allTests('failed')) console.log(`FAILED ${test.fullName}`);
      for (const error of module.errors()) console.log(`FAILED ${module.relativeModuleId}: ${error.message}`);
    }
  }
}

type Row = [name: string, cases: string, passed: string, failed: string];

/** A file that could not be loaded counts as one case that failed. */
function rowOf(module: TestModule): Row {
  const tests = [...module.children.allTests()].filter(test => test.result().state !== 'skipped');
  const passed = tests.filter(test => test.ok()).length;
  const broken = module.errors().length > 0 ? 1 : 0;
  const name = basename(module.moduleId, '.test.ts').replaceAll('-', ' ');
  return [name, `${tests.length}`, `${passed}`, `${tests.length - passed + broken}`];
}

const sum = (counts: readonly number[]): string => `${counts.reduce((a, b) => a + b, 0)}`;
