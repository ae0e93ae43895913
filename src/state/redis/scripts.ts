import { hash } from 'node:crypto';

/** What Redis runs as one step. All keys carry one hash tag, so that they lie on one node of a cluster. */
export class Script {
  readonly lua: string;
  /** SHA-1, as EVALSHA takes it. */
  readonly sha: string;

  constructor(lua: string) {
    this.lua = lua.trim();
    this.sha = hash('sha1', this.lua);
  }
}

// A script that has written may go on when Redis is full, and DEL is written then, too. So what must never be refused
// for want of memory begins with DEL.

/**
 * KEYS: run, epoch, revoked, nothing. ARGV: an id for a data set that has none, the last epoch seen, ids at most.
 * → the data set's id, its epoch, the ids that were revoked since. DEL, because a replica must not pass for Redis.
 */
export const BEAT = new Script(`
redis.call('DEL', KEYS[4])
local run = redis.call('GET', KEYS[1])
if not run then
  run = ARGV[1]
  redis.call('SET', KEYS[1], run)
end
local epoch = tonumber(redis.call('GET', KEYS[2]) or '0')
local ids = {}
if epoch > tonumber(ARGV[2]) then
  ids = redis.call('ZRANGEBYSCORE', KEYS[3], '(' .. ARGV[2], '+inf', 'LIMIT', 0, ARGV[3])
end
return { run, epoch, ids }
`);

/**
 * KEYS: session, id, index, subject. ARGV: id, token hash, sealed record, end, end of the memory of it, now, the oldest
 * that is remembered, most sessions, sealed subject token or nothing. Times: ms since the epoch. → 1, 0 if too many are
 * live, or 2 if it is there already.
 */
export const CREATE = new Script(`
if redis.call('EXISTS', KEYS[1]) == 1 then return 2 end
if redis.call('ZCOUNT', KEYS[3], '(' .. ARGV[6], '+inf') >= tonumber(ARGV[8]) then return 0 end
redis.call('HSET', KEYS[1], 'id', ARGV[1], 'record', ARGV[3])
redis.call('PEXPIREAT', KEYS[1], ARGV[5])
redis.call('SET', KEYS[2], ARGV[2], 'PXAT', ARGV[5])
if ARGV[9] ~= '' then redis.call('SET', KEYS[4], ARGV[9], 'PXAT', ARGV[4]) end
redis.call('ZADD', KEYS[3], ARGV[4], ARGV[1] .. ':' .. ARGV[2])
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', ARGV[7])
return 1
`);

/**
 * KEYS: session, epoch, revoked, subject. ARGV: id, now, channel, most ids to keep. → 1, or 0 if it was revoked before.
 * Tells the others even if there is no such session: they may know one that Redis has lost.
 */
export const REVOKE = new Script(`
redis.call('DEL', KEYS[4])
if redis.call('HGET', KEYS[1], 'revoked') then return 0 end
if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('HSET', KEYS[1], 'revoked', ARGV[2]) end
local epoch = redis.call('INCR', KEYS[2])
redis.call('ZADD', KEYS[3], epoch, ARGV[1])
redis.call('ZREMRANGEBYRANK', KEYS[3], 0, -1 - tonumber(ARGV[4]))
redis.call('PUBLISH', ARGV[3], ARGV[1])
return 1
`);

/**
 * KEYS: lock, fence. ARGV: token, time in ms. → the fence, larger than every one before, also than those of a data set
 * that was lost (it is at least the time of day); nil if somebody holds the lock.
 */
export const LOCK = new Script(`
if not redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return false end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local fence = string.format('%.0f', math.max(tonumber(redis.call('GET', KEYS[2]) or '0') + 1, now))
redis.call('SET', KEYS[2], fence)
return fence
`);

/** KEYS: lock. ARGV: token. */
export const UNLOCK = new Script(`
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
`);

/**
 * KEYS: blob. ARGV: fence, sealed value, time to live in ms. → 1, or 0 if it was written under a later fence. Deletes
 * first: what an issuer has replaced exists nowhere else.
 */
export const PUT = new Script(`
local held = tonumber(redis.call('HGET', KEYS[1], 'fence') or '0')
if held > tonumber(ARGV[1]) then return 0 end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'fence', ARGV[1], 'value', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
`);

/**
 * KEYS: budget, gates. ARGV: capacity, permits that come back in one ms, permits wanted (negative: given back), permits
 * ahead, life in ms, gate, how long a gate counts in ms. → permits granted, permits left, gates. A budget that is whole
 * again ends by itself.
 */
export const PERMITS = new Script(`
local time = redis.call('TIME')
local now = time[1] * 1000 + time[2] / 1000
local rate = tonumber(ARGV[2])
local wanted = tonumber(ARGV[3])
local held = redis.call('HMGET', KEYS[1], 'taken', 'at')
local since = math.max(0, now - tonumber(held[2] or now))
local taken = math.max(0, tonumber(held[1] or '0') - since * rate)
local room = math.max(0, tonumber(ARGV[1]) - taken)
local granted = math.min(wanted, math.floor(room + 0.000001))
if wanted >= 0 and granted == wanted then
  granted = granted + math.min(tonumber(ARGV[4]), math.floor((room - granted) / 8))
end
if granted ~= 0 then
  taken = math.max(0, taken + granted)
  redis.call('HSET', KEYS[1], 'taken', string.format('%.6f', taken), 'at', string.format('%.3f', now))
  local life = tonumber(ARGV[5])
  if rate > 0 then life = math.max(life, taken / rate) end
  redis.call('PEXPIRE', KEYS[1], string.format('%.0f', math.ceil(life)))
end
redis.call('ZADD', KEYS[2], string.format('%.0f', now), ARGV[6])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', string.format('%.0f', now - tonumber(ARGV[7])))
redis.call('PEXPIRE', KEYS[2], ARGV[7])
return { granted, string.format('%.6f', math.max(0, room - granted)), redis.call('ZCOUNT', KEYS[2], '-inf', '+inf') }
`);

/**
 * KEYS: slots. ARGV: most slots (0: those that follow are held already), time to live in ms, ids. → 1, or 0 if no slot
 * is left. A slot that its gate does not hold again ends by itself.
 */
export const HOLD = new Script(`
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local most = tonumber(ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now))
if most > 0 and redis.call('ZCOUNT', KEYS[1], '-inf', '+inf') >= most then return 0 end
local till = string.format('%.0f', now + tonumber(ARGV[2]))
for i = 3, #ARGV do redis.call('ZADD', KEYS[1], till, ARGV[i]) end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
`);

/** KEYS: slots. ARGV: id. */
export const FREE = new Script(`
return redis.call('ZREM', KEYS[1], ARGV[1])
`);
