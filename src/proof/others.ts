import { Buffer } from 'node:buffer';
import type { Proof } from './proof.ts';
import { asText } from './reflection.ts';
import { PROBE_FIELD } from './reflector.ts';
import { across } from './report.ts';
import { type Aimed, aim, SAMPLE } from './requests.ts';
import { search } from './search.ts';
import type { Trial } from './trial.ts';

const HOW = across('HTTP/1.1', 'HTTP/1.1');

/** Rules that deny or tunnel: nothing of a denied request arrives, and nothing is swapped in bytes that nobody reads. */
export async function tryOthers(trial: Trial, proof: Proof): Promise<void> {
  const { profile, rule, report } = trial;
  if (rule.action === 'allow') return;
  const aimed = aim(profile, rule, undefined, SAMPLE);
  const why = 'no request reaches the rule, for rules above it take them all';
  if (!aimed) return void report.notRun.push({ probe: 'all', protocols: '', why });
  report.probes++;
  try {
    await (rule.action === 'deny' ? tryDenied(trial, proof, aimed) : tryTunnel(trial, proof, aimed));
  } catch (thrown) {
    report.notRun.push({ probe: rule.action, protocols: HOW, why: (thrown as Error).message });
  }
}

async function tryDenied({ profile, report }: Trial, proof: Proof, { request }: Aimed): Promise<void> {
  const { stand, sandbox } = await proof.bench(profile.name, 'HTTP/1.1');
  const id = stand.reflector.expect({ answer: () => ({}) });
  const seen = await sandbox.http1({ ...request, headers: [[PROBE_FIELD, id]] });
  const arrived = stand.reflector.take(id) !== undefined;
  if (arrived || seen.reason !== 'rule_denies') {
    const why = arrived
      ? 'the request arrived, although the rule denies it'
      : `refused as ${seen.reason}, not by the rule`;
    report.notRun.push({ probe: 'deny', protocols: HOW, why });
  }
}

async function tryTunnel({ profile, report }: Trial, proof: Proof, { request }: Aimed): Promise<void> {
  const { stand, session, pinning } = await proof.bench(profile.name, 'HTTP/1.1');
  const id = stand.reflector.expect({ answer: received => ({ body: Buffer.from(asText(received)) }) });
  const stubs = [...session.stubs.values()].map(stub => ['x-stub', stub] as const);
  const seen = await pinning.http1({ ...request, headers: [[PROBE_FIELD, id], ...stubs] });
  const received = stand.reflector.take(id);
  if (!received)
    return void report.notRun.push({
      probe: 'tunnel',
      protocols: HOW,
      why: 'nothing arrived through the tunnel',
    });
  const swapped = search(Buffer.from(asText(received)), proof.needles).map(found => ({
    ...found,
    place: 'what the upstream received',
  }));
  for (const leak of [...swapped, ...proof.look(seen)])
    report.leaks.push({ ...leak, kind: 'elsewhere', probe: 'tunnel', protocols: HOW });
}
