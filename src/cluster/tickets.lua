-- SPDX-License-Identifier: MIT
-- Take what a node says of uses of tickets: shared_ticket.h.
--
-- KEYS  {p}t:<ticket> of each
-- ARGV  1 node  and of each: what it says, mark, position, until when the ticket is good (ms), what
--       is said to the node when another takes the stream over
--
-- Returns for each 1: the ticket is this use's; 0: it is not.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local ours = {}

local function hold(key, mark, say)
  redis.call('HSET', key, 'node', mark ~= '' and ARGV[1] or '', 'mark', mark, 'say', say)
end

for i, key in ipairs(KEYS) do
  local what, mark, position, till, say = unpack(ARGV, 5 * i - 3, 5 * i + 1)
  local t = redis.call('HMGET', key, 'node', 'mark', 'told', 'fights')
  local is_ours = t[1] == ARGV[1] and t[2] == mark

  if what == 'OVER' and t[1] then
    if tonumber(position) > tonumber(t[3]) then redis.call('HSET', key, 'told', position) end
    if is_ours then hold(key, '', '') end
  elseif what == 'FORGET' and t[1] == '' then
    redis.call('DEL', key)
  elseif what == 'LIVE' and not t[1] and tonumber(till) > now then -- the log has lost it
    hold(key, mark, say)
    redis.call('HSET', key, 'from', position, 'told', position, 'first', '0', 'since', '0',
      'at', '0', 'fights', '0')
    redis.call('PEXPIRE', key, string.format('%.0f', tonumber(till) - now))
    is_ours = true
  elseif what == 'LIVE' and t[1] == '' and tonumber(t[4]) <= 5 then -- or how it was used last
    hold(key, mark, say)
    is_ours = true
  end
  ours[i] = is_ours and 1 or 0
end
return ours
