-- SPDX-License-Identifier: MIT
-- Take something that one holder at a time has.
--
-- KEYS  1 {p}t:<name>
-- ARGV  1 holder  2 for how long, ms
--
-- Returns {former holder, claims before this one while it was held}, or {0} when it was free.
local held = redis.call('HMGET', KEYS[1], 'holder', 'claims')
local claims = 0
if held[1] then claims = tonumber(held[2]) + 1 end
redis.call('HSET', KEYS[1], 'holder', ARGV[1], 'claims', claims)
redis.call('PEXPIRE', KEYS[1], ARGV[2])
if held[1] then return {held[1], claims} end
return {0}
