-- SPDX-License-Identifier: MIT
-- Decide about the use of a ticket, for all nodes: shared_ticket.h.
--
-- KEYS  1 {p}t:<ticket>  2 {p}meta  3 {p}terms
-- ARGV  1 node  2 mark of the use  3 what is said to that node when another takes its stream over
--       4 a node's channel, but for its name  5 epoch of the id that was shown, or ''  6 its
--       position  7 from where on the stream begins  8 when the ticket was made, ms  9 the newest
--       position then  10 until when it must be used first  11 until when it is good  12 the time,
--       0: the server's
--
-- Returns {verdict, mark of the use of the same node that must go, or ''}.
local position, from, made = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local now = tonumber(ARGV[12])
if now == 0 then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
local left = tonumber(ARGV[11]) - now
if left <= 0 then return {'LATE', ''} end
local function text(number) return string.format('%.0f', number) end

-- whether the log knows the id, and up to where a live stream could have been sent it: beyond the
-- end of a term there may have been what is lost
local meta = redis.call('HMGET', KEYS[2], 'epoch', 'head', 'born')
local shows, upto = false, tonumber(meta[2] or 0)
if ARGV[5] == meta[1] then
  shows = position <= upto
elseif ARGV[5] ~= '' then
  for _, term in ipairs(redis.call('LRANGE', KEYS[3], 0, -1)) do
    if term:match('^%S+') == ARGV[5] then shows, upto = true, math.huge end
  end
end
-- an id that was shown and is good was sent: its stream may not have come as far again
local sent = shows and math.max(from, position) or from
local outlived = made < tonumber(meta[3] or 0)

local t = redis.call('HMGET', KEYS[1], 'node', 'mark', 'say', 'from', 'told', 'first', 'since', 'at',
  'fights')
if not t[1] then
  if now >= tonumber(ARGV[10]) and
    not (outlived and shows and position >= tonumber(ARGV[9])) then
    return {'LATE', ''}
  end
  redis.call('HSET', KEYS[1], 'node', ARGV[1], 'mark', ARGV[2], 'say', ARGV[3], 'from', ARGV[7],
    'told', text(sent), 'first', text(now), 'since', '0', 'at', '0', 'fights', '0')
  redis.call('PEXPIRE', KEYS[1], text(left))
  return {'GOOD', ''}
end

local live, told, first = t[1] ~= '', tonumber(t[5]), tonumber(t[6])
local since, at, fights = tonumber(t[7]), tonumber(t[8]), tonumber(t[9])
if fights > 5 then return {'REVOKED', ''} end
local is_its_id = shows and position >= tonumber(t[4]) and
  position <= ((live or outlived) and upto or told)
local begins_again = not shows and not live and now >= first and now - first < 5000
if not is_its_id and not begins_again then return {'USED', ''} end

local older, verdict = '', 'GOOD'
if live then
  if now - since >= 60000 then since, fights = now, 0 end
  if fights == 0 or now - at >= 200 then at, fights = now, fights + 1 end
  if fights > 5 then verdict = 'REVOKED' end
  if t[1] == ARGV[1] then older = t[2] else redis.call('PUBLISH', ARGV[4] .. t[1], t[3]) end
end
local holder = verdict == 'GOOD' and {ARGV[1], ARGV[2], ARGV[3]} or {'', '', ''}
redis.call('HSET', KEYS[1], 'node', holder[1], 'mark', holder[2], 'say', holder[3],
  'from', text(math.min(from, tonumber(t[4]))), 'told', text(math.max(sent, told)),
  'since', text(since), 'at', text(at), 'fights', text(fights))
return {verdict, older}
