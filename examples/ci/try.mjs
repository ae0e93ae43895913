#!/usr/bin/env node
// Runs the scripts of a CI kit without its platform, with what the platform gives them:
//   node try.mjs github/action.yml [input=value …]      the steps of a composite action, in order
//   node try.mjs gitlab/stubgate.gitlab-ci.yml JOB      the script of a job
// GITHUB_EVENT_PATH may name a file with the event. What the steps wrote is printed as JSON in the end.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import vm from 'node:vm';
import { parse } from 'yaml';

const [file, ...rest] = process.argv.slice(2);
if (file === undefined || file.startsWith('-')) {
  console.error('usage: node try.mjs KIT.yml [input=value … | JOB], such as node try.mjs github/action.yml mode=check');
  process.exit(2);
}
const kit = parse(readFileSync(file, 'utf8'));
process.exitCode = kit.runs ? runAction(kit, rest) : runJob(kit, rest[0]);

function runAction({ inputs, outputs, runs }, given) {
  const temp = process.env.RUNNER_TEMP ?? mkdtempSync(join(tmpdir(), 'action-'));
  const event = process.env.GITHUB_EVENT_PATH;
  const github = {
    base_ref: process.env.GITHUB_BASE_REF ?? '',
    token: process.env.GITHUB_TOKEN ?? '',
    action_path: dirname(resolve(file)),
    event: { pull_request: { number: '' }, ...(event && JSON.parse(readFileSync(event, 'utf8'))) },
  };
  const context = { inputs: {}, github, steps: {}, failed: false };
  for (const [name, input] of Object.entries(inputs)) context.inputs[name] = filled(String(input.default ?? ''), context);
  for (const [name, value] of given.map(one => one.split(/=(.*)/s))) context.inputs[name] = value;
  const exported = {};
  let summary = '';
  for (const [i, step] of runs.steps.entries()) {
    if (step.id) context.steps[step.id] = { outputs: {} };
    if (!isWanted(step.if, context)) continue;
    const files = Object.fromEntries(
      ['ENV', 'OUTPUT', 'STEP_SUMMARY'].map(name => [`GITHUB_${name}`, join(temp, `step-${i}-${name}`)]),
    );
    for (const path of Object.values(files)) writeFileSync(path, '');
    const env = Object.entries(step.env ?? {}).map(([name, value]) => [name, filled(value, context)]);
    // As the runner calls bash.
    const { status } = spawnSync('bash', ['--noprofile', '--norc', '-eo', 'pipefail', '-c', step.run], {
      stdio: ['ignore', 2, 2],
      env: { GITHUB_RUN_ID: '1', ...process.env, ...exported, ...Object.fromEntries(env), ...files, RUNNER_TEMP: temp },
    });
    if (status !== 0) context.failed = true;
    Object.assign(exported, pairs(files.GITHUB_ENV));
    if (step.id) context.steps[step.id] = { outputs: pairs(files.GITHUB_OUTPUT) };
    summary += readFileSync(files.GITHUB_STEP_SUMMARY, 'utf8');
  }
  const given_ = Object.entries(outputs).map(([name, { value }]) => [name, filled(value, context)]);
  console.log(JSON.stringify({ outputs: Object.fromEntries(given_), env: exported, summary }));
  return context.failed ? 1 : 0;
}

/** `${{ … }}`: of GitHub's expressions those that are JavaScript, too. */
function filled(text, context) {
  return String(text).replace(/\$\{\{(.*?)\}\}/g, (_, expression) => evaluate(expression, context) ?? '');
}

function isWanted(condition, context) {
  if (condition === undefined) return !context.failed;
  const hasStatus = /\b(always|cancelled|failure|success)\(\)/.test(condition);
  return (hasStatus || !context.failed) && Boolean(evaluate(condition, context));
}

function evaluate(expression, context) {
  // A name may hold a hyphen there: inputs.allow-widening.
  const text = expression.replace(/\.([a-z]+(?:-[a-z]+)+)/g, "['$1']");
  return vm.runInNewContext(text, { ...context, always: () => true, cancelled: () => false });
}

function pairs(path) {
  const lines = readFileSync(path, 'utf8').split('\n').filter(line => line.includes('='));
  return Object.fromEntries(lines.map(line => line.split(/=(.*)/s).slice(0, 2)));
}

function runJob(jobs, name) {
  const job = jobs[name];
  if (!job) throw new Error(`no job ${name}; one of ${Object.keys(jobs).join(', ')}`);
  const inherited = job.extends ? jobs[job.extends] : {};
  const { before_script = [], script } = { ...inherited, ...job };
  const variables = { ...jobs.variables, ...inherited.variables, ...job.variables };
  // As the runner does: all lines in one shell, which ends at the first that fails.
  const text = ['set -eo pipefail', ...before_script, ...script].join('\n');
  const { status } = spawnSync('bash', ['-c', text], { stdio: ['ignore', 1, 2], env: { ...variables, ...process.env } });
  return status ?? 1;
}
