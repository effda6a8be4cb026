-- SPDX-License-Identifier: MIT
-- Renew a node's lease, and look whether the log is still the one that it follows.
--
-- KEYS  1 {p}n:<node>  2 {p}meta  3 {p}nodes
-- ARGV  1 incarnation  2 value, which begins with it  3 for how long, ms; 0: it ends  4 node
--       5 value of a process that is gone; or empty
--
-- Returns {'OK', epoch}; {'TERM'}: attach; {'TAKEN', value, ms}: by another process.
local held = redis.call('GET', KEYS[1])
if held and held:sub(1, #ARGV[1]) ~= ARGV[1] and held ~= ARGV[5] then
  return {'TAKEN', held, redis.call('PTTL', KEYS[1])}
end
local now = redis.call('TIME')
now = now[1] * 1000 + math.floor(now[2] / 1000)
if ARGV[3] == '0' then
  redis.call('DEL', KEYS[1])
  redis.call('HDEL', KEYS[3], ARGV[4])
else
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
  redis.call('HSET', KEYS[3], ARGV[4], string.format('%.0f', now + ARGV[3]))
end
local all = redis.call('HGETALL', KEYS[3])
for i = 1, #all, 2 do
  if tonumber(all[i + 1]) < now then redis.call('HDEL', KEYS[3], all[i]) end
end
local meta = redis.call('HMGET', KEYS[2], 'fence', 'epoch')
local life = redis.call('INFO', 'replication'):match('master_replid:(%x+)')
if not meta[1] or meta[1] ~= life then return {'TERM'} end
return {'OK', meta[2]}
