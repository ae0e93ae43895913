import type { Compiled } from '../config/types.ts';
import { parseShape } from '../inject/shape.ts';
import { stubVariables } from '../inject/stands-for.ts';
import type { StubKey } from '../inject/stub.ts';
import type { Sessions } from '../state/sessions.ts';
import type { Session } from '../types.ts';
import type { Events } from './events.ts';
import type { NewSession } from './gate.ts';
import { givenFor } from './identities.ts';

/** Creates sessions, and their stubs, as the configuration of the moment has them. */
export class Issuer {
  readonly #stubs: StubKey;
  readonly #sessions: Sessions;
  readonly #events: Events;
  readonly #compiled: () => Compiled;

  constructor(stubs: StubKey, sessions: Sessions, events: Events, compiled: () => Compiled) {
    this.#stubs = stubs;
    this.#sessions = sessions;
    this.#events = events;
    this.#compiled = compiled;
  }

  async createSession({
    profile,
    ttlMs,
    subjectToken,
    ...who
  }: NewSession): Promise<{ session: Session; token: string }> {
    const { profiles } = this.#compiled();
    const found = profiles.get(profile);
    if (!found)
      throw new Error(`There is no profile "${profile}"; one of ${[...profiles.keys()].join(', ')}`);
    const life = Math.min(ttlMs ?? found.ttlMs, found.ttlMs);
    const subject = givenFor(found.exchanged, subjectToken);
    const stubs = this.stubsFor(profile);
    const created = await this.#sessions.create({ profile, ttlMs: life, ...who, stubs, subject });
    this.#events.created(created.session);
    return created;
  }

  /** Environment variable → stub. */
  environment(session: Session): Record<string, string> {
    const { credentials } = this.#compiled();
    const environment: Record<string, string> = {};
    for (const [name, stub] of session.stubs) {
      const found = credentials.get(name);
      if (found) Object.assign(environment, stubVariables(found.stub, stub, this.#stubs));
    }
    return environment;
  }

  /** Credential → a fresh stub. */
  stubsFor(profile: string): Map<string, string> {
    const names = this.#compiled().profiles.get(profile)?.credentials ?? [];
    return new Map(names.map(name => [name, this.#mint(name)]));
  }

  #mint(credential: string): string {
    const found = this.#compiled().credentials.get(credential);
    if (!found) throw new Error(`no credential "${credential}"`);
    return this.#stubs.mint(parseShape(found.stub.shape));
  }
}
