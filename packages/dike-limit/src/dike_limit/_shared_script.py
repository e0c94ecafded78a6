"""What runs in the server: one script for all that a loop has to say about one sorted set."""

SCRIPT = """
-- KEYS[1]: the sorted set of a limit. Its members are calls, their scores the ends of their leases in ms.
-- ARGV[1]: how long a lease is, in ms.
-- ARGV[2], ARGV[3]: how many calls leave, and how many stay. Their ids follow, those that leave first.
-- The rest: pairs of the id of a call that asks to enter, and how many may be inside with it.
local set, lease, leave, stay = KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local ids = 3

-- The server's clock is the only one that counts: those of the clients may be wrong.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- Leases that have ended make room: those of killed processes, and of loops that stood still.
redis.call('ZREMRANGEBYSCORE', set, '-inf', now)

-- Calls that are over leave. One that is not there any more had lost its lease: say which.
local lost = {}
for i = 1, leave do
  if redis.call('ZREM', set, ARGV[ids + i]) == 0 then
    lost[#lost + 1] = i
  end
end

-- The leases of running calls begin anew. One that had been lost is put back, since its call runs anyway.
for i = leave + 1, leave + stay do
  if redis.call('ZADD', set, now + lease, ARGV[ids + i]) == 1 then
    lost[#lost + 1] = i
  end
end

-- Calls enter while there is room. One that is already inside asks again, since it has not heard the answer.
local entered = {}
if ids + leave + stay < #ARGV then
  local inside = redis.call('ZCARD', set)
  for i = ids + leave + stay + 1, #ARGV, 2 do
    local id, capacity = ARGV[i], tonumber(ARGV[i + 1])
    if inside + 1 <= capacity or redis.call('ZSCORE', set, id) then
      inside = inside + redis.call('ZADD', set, now + lease, id)
      entered[#entered + 1] = 1
    else
      entered[#entered + 1] = 0
    end
  end
end

-- The set goes with its last lease, which may be longer than ours if another process says so. And the time until the
-- oldest ends, for those who find no room.
local oldest = -1
if ids + leave < #ARGV then
  local last = redis.call('ZREVRANGE', set, 0, 0, 'WITHSCORES')
  if last[2] then
    redis.call('PEXPIRE', set, last[2] - now)
    oldest = redis.call('ZRANGE', set, 0, 0, 'WITHSCORES')[2] - now
  end
end
return {lost, entered, oldest}
"""
