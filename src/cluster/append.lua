-- SPDX-License-Identifier: MIT
-- Append one group of events, or an order: all or nothing, and at most once for a writer and its
-- seq.  An order stands behind the head and leaves it; meta.sub is "head n", its n-th order.
--
-- KEYS  1 {p}log  2 {p}meta  3.. idempotency keys
-- ARGV  1 writer  2 seq  3 events, 0: an order  4 window of the keys, ms  5 body  6 where each
--       key's event stands in the group, counted from 0, separated by blanks  7 the epoch that the
--       writer has attached to  8.. digest of each key
--
-- Returns {'OK', epoch, first, at, sub}; {'SEEN', epoch, first, at, sub, touched}: it was appended
-- before; {'KEYS', i, value, ...}: these keys, counted from 1, are taken; {'TERM'}: attach first.
--
-- The order is the point.  The replication id is asked now, from the server itself: it is what
-- changes when a server has another life, such as a replica that was promoted.  XADD is the first
-- write, so that a server without memory refuses all of it.
--
-- All of the server's time for a group goes through here: a call of a command costs 1 to 2 us, a
-- search for a pattern in what INFO says as much again, so there are five calls and a plain find.
local writer = 'w:' .. ARGV[1]
local meta = redis.call('HMGET', KEYS[2], 'fence', 'epoch', 'head', 'at', writer, 'bytes')
if not meta[1] or
  not redis.call('INFO', 'replication'):find('master_replid:' .. meta[1] .. '\r', 1, true) then
  return {'TERM'}
end
-- a term that the writer does not follow may have begun without its seq: it could stand there twice
if meta[2] ~= ARGV[7] then return {'TERM'} end

if meta[5] and tonumber(meta[5]:match('^%d+')) >= tonumber(ARGV[2]) then
  local first, at, sub = meta[5]:match('^%d+ (%d+) (%d+) ?(%d*)')
  -- WAIT waits for what its own connection has written: so it has to write
  local touched = redis.pcall('HSET', KEYS[2], writer, meta[5])
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
local at = string.format('%d', math.max(now[1] * 1000 + math.floor(now[2] / 1000), meta[4]))
local first = meta[3] + 1
local head = string.format('%d', meta[3] + ARGV[3])
local bytes = string.format('%d', (meta[6] or 0) + #ARGV[5])
local begin = string.format('%d', first)
local own = ARGV[2] .. ' ' .. begin .. ' ' .. at
local line = meta[2] .. ' ' .. begin .. ' ' .. at .. ' ' .. ARGV[1] .. ' ' .. ARGV[2]

-- Where something else stands, or stood, behind the end, nothing could be appended any more.
local function add(id)
  local added = redis.pcall('XADD', KEYS[1], id, 'h', line, 'b', ARGV[5])
  if type(added) ~= 'table' or not added.err then return end
  if added.err:find('equal or smaller', 1, true) then
    redis.call('DEL', KEYS[1])
    redis.call('HSET', KEYS[2], 'trimmed', meta[3])
    bytes = #ARGV[5]
  end
  redis.call('XADD', KEYS[1], id, 'h', line, 'b', ARGV[5])
end

if ARGV[3] == '0' then
  local of, sub = (redis.call('HGET', KEYS[2], 'sub') or '0 0'):match('(%d+) (%d+)')
  if of ~= head then sub = 0 end
  sub = string.format('%d', sub + 1)
  add(head .. '-' .. sub)
  redis.call('HSET', KEYS[2], 'sub', head .. ' ' .. sub, 'at', at, writer, own .. ' ' .. sub,
    'bytes', bytes)
  return {'OK', meta[2], begin, at, sub}
end

add(head .. '-0')
redis.call('HSET', KEYS[2], 'head', head, 'at', at, writer, own, 'bytes', bytes)
if #KEYS > 2 then
  local i = 3
  for index in ARGV[6]:gmatch('%d+') do
    local place = string.format('%d', first + index)
    redis.call('SET', KEYS[i], place .. ' ' .. ARGV[i + 5], 'PX', ARGV[4])
    i = i + 1
  end
end
return {'OK', meta[2], begin, at, '0'}
