-- SPDX-License-Identifier: MIT
-- Forget the oldest groups and orders: at most 100, and as many as 4 MiB hold, so that a call is
-- short.  And forget writers that have appended nothing for as long as the log keeps: nobody asks
-- any more whether a group of theirs was appended.  What is not of this program is old.
--
-- KEYS  1 {p}log  2 {p}meta
-- ARGV  1 age of a group, ms  2 bytes of all  3 the writer that asks
--
-- Returns the number of groups that were forgotten: 0 is the end.
local now = redis.call('TIME')
now = now[1] * 1000 + math.floor(now[2] / 1000)
local bytes = tonumber(redis.call('HGET', KEYS[2], 'bytes') or 0)
local from, last, n, freed, more = '-', nil, 0, 0, true

while more and n < 100 and freed < 4194304 do
  local entries = redis.call('XRANGE', KEYS[1], from, '+', 'COUNT', 10)
  more = #entries == 10
  for _, entry in ipairs(entries) do
    local at = (entry[2][2] or ''):match('^%S+ %d+ (%d+)') or 0
    local size = #(entry[2][4] or '')
    if bytes <= tonumber(ARGV[2]) and now - at < tonumber(ARGV[1]) then
      more = false
      break
    end
    bytes, freed, last, n = bytes - size, freed + size, entry[1], n + 1
    from = '(' .. last
  end
end
if not last then return 0 end

local head, sub = last:match('^(%d+)-(%d+)') -- what follows may be an order behind the same head
redis.call('XTRIM', KEYS[1], 'MINID', head .. '-' .. string.format('%.0f', sub + 1))
local known = redis.call('HGET', KEYS[2], 'head') or '0'
if tonumber(head) > tonumber(known) then head = known end -- what stood behind the end was not ours
redis.call('HSET', KEYS[2], 'bytes', string.format('%.0f', math.max(bytes, 0)), 'trimmed', head)
local fields = redis.call('HGETALL', KEYS[2])
for i = 1, #fields, 2 do
  local at = fields[i + 1]:match('^%d+ %d+ (%d+)') or 0
  if fields[i]:sub(1, 2) == 'w:' and fields[i] ~= 'w:' .. ARGV[3] and
    now - at > math.max(tonumber(ARGV[1]), 3600000) then
    redis.call('HDEL', KEYS[2], fields[i])
  end
end
return n
