import { createHmac, hash, hkdfSync, type X509Certificate } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import type { JWTVerifyGetKey } from 'jose';
import { Refusal } from '../errors.ts';
import type { Log } from '../log.ts';
import type { Dial } from '../mint/http.ts';
import { ownSubject } from '../mint/subject.ts';
import type { Subject } from '../secret.ts';
import type { Session } from '../types.ts';
import { certificateClaims, isSignedBy, parseAnchors, signedName } from './client-certificate.ts';
import { type Claims, nameBy, type Named, Unfit } from './claims.ts';
import type { CertificateEntry, IdentityEntry, JwtEntry } from './entry.ts';
import { fetchKeys, keySet, parse } from './jwks.ts';
import { claimedIssuer, expired, signedPart, type Verified, verifyJwt } from './jwt.ts';
import { KeySet } from './key-set.ts';
import { WatchedFile } from './watched-file.ts';

/** Tokens whose session is known without verifying them again. */
const MAX_TOKENS = 10_000;

/** A session to open for a credential. */
export interface Opening extends Named {
  /** 64 hex digits that stand for the credential, the same on all gates. */
  readonly key: string;
  /** ms since the epoch. */
  readonly expiresAt: number;
  /** The credential itself, if it is a JWT. */
  readonly subject: Subject | undefined;
}

export interface IdentitiesOptions {
  /** What the gates share; `key` of an opening is derived from it, so that nobody else can make one. */
  readonly secret: Buffer;
  readonly log: Log;
  readonly dial: Dial;
  /** The session that this credential opened before, or a new one. Rejects with a Refusal. */
  readonly open: (opening: Opening) => Session | Promise<Session>;
  /** Longest life of a session of that profile, ms; undefined if there is none. */
  readonly profileMs: (profile: string) => number | undefined;
}

interface JwtMethod {
  readonly entry: JwtEntry;
  readonly find: JWTVerifyGetKey;
}

interface CertificateMethod {
  readonly entry: CertificateEntry;
  readonly anchors: WatchedFile<X509Certificate[]>;
}

/** What of a configuration's `identity` is ready to be asked. Replaced whole on reload. */
interface Ready {
  readonly jwt: readonly JwtMethod[];
  readonly certificates: readonly CertificateMethod[];
  /** SHA-256 of a token → its session. */
  readonly known: LRUCache<string, Session>;
  readonly underway: Map<string, Promise<Session>>;
}

/** Opens sessions for credentials that others issued: JWTs and client certificates. Denies what no entry takes. */
export class Identities {
  readonly #options: IdentitiesOptions;
  readonly #key: Buffer;
  readonly #keySets = new Map<string, KeySet>();
  #ready: Ready;

  /** Throws an Error for the operator if a file of an entry cannot be used. */
  constructor(entries: readonly IdentityEntry[], options: IdentitiesOptions) {
    this.#options = options;
    this.#key = Buffer.from(hkdfSync('sha256', options.secret, Buffer.alloc(0), 'stubgate identity v1', 32));
    this.#ready = this.prepare(entries);
  }

  /** Throws as the constructor does, and changes nothing then. */
  prepare(entries: readonly IdentityEntry[]): Ready {
    return {
      jwt: entries.flatMap((entry, i) => (entry.type === 'jwt' ? [this.#jwtMethod(entry, i)] : [])),
      certificates: entries.flatMap((entry, i) =>
        entry.type === 'client-certificate' ? [this.#certificateMethod(entry, i)] : [],
      ),
      known: new LRUCache({ max: MAX_TOKENS }),
      underway: new Map(),
    };
  }

  use(ready: Ready): void {
    this.#ready = ready;
  }

  /** Another one after each reload. */
  get version(): unknown {
    return this.#ready;
  }

  /** CAs that a client's certificate may be signed by; empty: none is asked for. `now`: performance.now(). */
  anchors(now = performance.now()): readonly X509Certificate[] {
    return this.#ready.certificates.flatMap(({ anchors }) => anchors.value(now));
  }

  /** The session of a JWT; at once if it is known. Throws, or rejects with, a Refusal. */
  jwt(token: string): Session | Promise<Session> {
    const { known, underway } = this.#ready;
    const name = hash('sha256', token);
    const session = known.get(name);
    if (session) return session;
    const opening = underway.get(name) ?? this.#byJwt(this.#ready, token, name);
    underway.set(name, opening);
    return opening;
  }

  async #byJwt({ jwt, known, underway }: Ready, token: string, name: string): Promise<Session> {
    try {
      const issuer = claimedIssuer(token);
      const methods = jwt.filter(({ entry }) => entry.issuer === issuer);
      const session = await this.#first('jwt', methods, async ({ entry, find }) => {
        const verified = await verifyJwt(entry, find, token);
        const subject = ownSubject(token, verified.endsAt);
        return this.#open(entry, verified, ['jwt', entry.issuer, signedPart(token)], subject);
      });
      known.set(name, session);
      return session;
    } finally {
      underway.delete(name);
    }
  }

  /** The session of a certificate that TLS has verified. Rejects with a Refusal. */
  certificate(certificate: X509Certificate): Promise<Session> {
    const times = {
      issuedAt: certificate.validFromDate.getTime(),
      endsAt: certificate.validToDate.getTime(),
    };
    return this.#first('client-certificate', this.#ready.certificates, async ({ entry, anchors }) => {
      if (!isSignedBy(certificate, anchors.value(performance.now())))
        throw new Unfit('no CA of the entry has signed it');
      const claims: Claims = certificateClaims(certificate);
      return this.#open(entry, { claims, ...times }, ['certificate', signedName(certificate)]);
    });
  }

  /** What the first entry that takes the credential makes of it. */
  async #first<Method>(
    what: string,
    methods: readonly Method[],
    take: (method: Method) => Promise<Session>,
  ): Promise<Session> {
    const unfit: string[] = [];
    let doubt: Refusal | undefined;
    for (const method of methods) {
      try {
        return await take(method);
      } catch (thrown) {
        if (thrown instanceof Unfit) unfit.push(thrown.message);
        else if (thrown instanceof Refusal) doubt ??= thrown;
        else throw thrown;
      }
    }
    if (doubt) throw doubt;
    const why = unfit.length > 0 ? [...new Set(unfit)].join('; ') : 'no entry is of its issuer';
    throw new Refusal('unauthenticated', { cause: new Error(`no identity takes this ${what}: ${why}`) });
  }

  async #open(
    entry: IdentityEntry,
    { claims, issuedAt, endsAt }: Verified,
    credential: readonly string[],
    subject?: Subject,
  ): Promise<Session> {
    const named = nameBy(entry, claims);
    const profileMs = this.#options.profileMs(named.profile);
    if (profileMs === undefined) throw new Unfit('its profile is gone');
    // Counted from the issue: an ended session must not begin anew with the same credential.
    const expiresAt = Math.min(endsAt, issuedAt + Math.min(entry.ttlMs ?? profileMs, profileMs));
    if (expiresAt <= Date.now()) throw expired();
    const key = createHmac('sha256', this.#key).update(JSON.stringify(credential)).digest('hex');
    const session = await this.#options.open({ ...named, key, expiresAt, subject });
    if (!isFor(session, named))
      throw new Unfit('it has opened a session before that is another one now; it needs a new credential');
    return session;
  }

  #jwtMethod(entry: JwtEntry, index: number): JwtMethod {
    // Loaded now, not when the first sandbox waits for it.
    void import('jose');
    const { keys, issuer } = entry;
    if (keys.kind === 'file') {
      const { log } = this.#options;
      const what = `identity[${index}].jwks_file`;
      const file = new WatchedFile(keys.file, what, text => keySet(parse(text)), log);
      return { entry, find: fromFile(file) };
    }
    const id = JSON.stringify([issuer, keys, entry.staleForMs]);
    let found = this.#keySets.get(id);
    if (!found) this.#keySets.set(id, (found = this.#keySet(entry, keys)));
    return { entry, find: found.find };
  }

  #keySet({ issuer, staleForMs }: JwtEntry, source: Parameters<typeof fetchKeys>[0]): KeySet {
    const { dial, log } = this.#options;
    return new KeySet({
      staleForMs,
      fetch: () => fetchKeys(source, issuer, dial),
      warn: cause => log.warn('the keys of an issuer cannot be fetched', { issuer, cause }),
    });
  }

  #certificateMethod(entry: CertificateEntry, index: number): CertificateMethod {
    const what = `identity[${index}].ca_file`;
    return { entry, anchors: new WatchedFile(entry.caFile, what, parseAnchors, this.#options.log) };
  }
}

function fromFile(file: WatchedFile<ReturnType<typeof keySet>>): JWTVerifyGetKey {
  let made: { readonly of: unknown; readonly find: JWTVerifyGetKey } | undefined;
  return async (header, token) => {
    const { createLocalJWKSet } = await import('jose');
    const of = file.value(performance.now());
    if (made?.of !== of) made = { of, find: createLocalJWKSet(of) };
    return made.find(header, token);
  };
}

/** Whether a session says of its principal what its credential says now. */
function isFor(session: Session, { profile, sub, act, labels }: Named): boolean {
  const known = Object.entries(session.labels);
  return (
    session.profile === profile &&
    session.sub === sub &&
    session.act === act &&
    known.length === Object.keys(labels).length &&
    known.every(([label, text]) => labels[label] === text)
  );
}
