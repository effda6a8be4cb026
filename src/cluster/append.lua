-- SPDX-License-Identifier: MIT
-- Append one group of events, or an order: all or nothing, and at most once for a writer and its
-- seq.  An order stands behind the head and leaves it; meta.sub is "head n", its n-th order.
--
-- KEYS  1 {p}log  2 {p}meta  3.. idempotency keys
-- ARGV  1 writer  2 seq  3 events, 0: an order  4 window of the keys, ms  5 body  6 where each key's event
--       stands in the group, counted from 0, separated by blanks  7 the epoch that the writer has
--       attached to  8.. digest of each key
--
-- Returns {'OK', epoch, first, at, sub}; {'SEEN', epoch, first, at, sub, touched}: it was appended
-- before; {'KEYS', i, value, ...}: these keys, counted from 1, are taken; {'TERM'}: attach first.
--
-- The order is the point.  The replication id is asked now, from the server itself: it is what
-- changes when a server has another life, such as a replica that was promoted.  XADD is the first
-- write, so that a server without memory refuses all of it.
local meta = redis.call('HMGET', KEYS[2], 'fence', 'epoch', 'head', 'at', 'w:' .. ARGV[1])
local life = redis.call('INFO', 'replication'):match('master_replid:(%x+)')
if not meta[1] or meta[1] ~= life then return {'TERM'} end
-- a term that the writer does not follow may have begun without its seq: it could stand there twice
if meta[2] ~= ARGV[7] then return {'TERM'} end

local seq, first, at, sub = (meta[5] or '0 0 0'):match('(%d+) (%d+) (%d+) ?(%d*)')
if tonumber(seq) >= tonumber(ARGV[2]) then
  -- WAIT waits for what its own connection has written: so it has to write
  local touched = redis.pcall('HSET', KEYS[2], 'w:' .. ARGV[1], meta[5])
  if sub == '' then sub = '0' end
  return {'SEEN', meta[2], first, at, sub, type(touched) == 'number' and 1 or 0}
end

if #KEYS > 2 then
  local found, taken = redis.call('MGET', unpack(KEYS, 3)), {}
  for i = 1, #KEYS - 2 do
    if found[i] then
      taken[#taken + 1] = tostring(i)
      taken[#taken + 1] = found[i]
    end
  end
  if #taken > 0 then return {'KEYS', unpack(taken)} end
end

local now = redis.call('TIME')
at = math.max(now[1] * 1000 + math.floor(now[2] / 1000), tonumber(meta[4]))
first = tonumber(meta[3]) + 1
local head = string.format('%.0f', first + ARGV[3] - 1)
sub = '0'
if ARGV[3] == '0' then
  local of, n = (redis.call('HGET', KEYS[2], 'sub') or '0 0'):match('(%d+) (%d+)')
  if of ~= head then n = 0 end
  sub = string.format('%.0f', n + 1)
end
local places = {}
for index in ARGV[6]:gmatch('%d+') do
  places[#places + 1] = string.format('%.0f', first + index)
end
first, at = string.format('%.0f', first), string.format('%.0f', at)

redis.call('XADD', KEYS[1], head .. '-' .. sub,
  'h', table.concat({meta[2], first, at, ARGV[1], ARGV[2]}, ' '), 'b', ARGV[5])
local own = ARGV[2] .. ' ' .. first .. ' ' .. at
if sub == '0' then
  redis.call('HSET', KEYS[2], 'head', head, 'at', at, 'w:' .. ARGV[1], own)
else
  redis.call('HSET', KEYS[2], 'sub', head .. ' ' .. sub, 'at', at, 'w:' .. ARGV[1],
    own .. ' ' .. sub)
end
redis.call('HINCRBY', KEYS[2], 'bytes', #ARGV[5])
for i = 3, #KEYS do
  redis.call('SET', KEYS[i], places[i - 2] .. ' ' .. ARGV[i + 5], 'PX', ARGV[4])
end
return {'OK', meta[2], first, at, sub}
