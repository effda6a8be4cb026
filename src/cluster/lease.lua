-- SPDX-License-Identifier: MIT
-- Renew a node's lease, and look whether the log is still the one that it follows.
--
-- KEYS  1 {p}n:<node>  2 {p}meta
-- ARGV  1 incarnation  2 value, which begins with it  3 for how long, ms
--
-- Returns {'OK', epoch, head, {seconds, microseconds}}; {'TERM'}: attach; {'TAKEN', value, ms}: by
-- another process.
local held = redis.call('GET', KEYS[1])
if held and held:sub(1, #ARGV[1]) ~= ARGV[1] then
  return {'TAKEN', held, redis.call('PTTL', KEYS[1])}
end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
local meta = redis.call('HMGET', KEYS[2], 'fence', 'epoch', 'head')
local life = redis.call('INFO', 'replication'):match('master_replid:(%x+)')
if not meta[1] or meta[1] ~= life then return {'TERM'} end
return {'OK', meta[2], meta[3], redis.call('TIME')}
