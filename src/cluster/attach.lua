-- SPDX-License-Identifier: MIT
-- Begin to follow the log: end its term if this is another life of the server, and make the log
-- from what the node has if there is none.
--
-- KEYS  1 {p}log  2 {p}meta  3 {p}terms
-- ARGV  1 a new epoch  2 the node's epoch  3 its newest position  4 its terms, "epoch end epoch
--       end"  5 the time of its newest event, ms
--
-- Returns {epoch, head, trimmed, at, sub, {seconds, microseconds}, {"epoch end", ...}}; sub is how
-- many orders stand behind head.
local meta = redis.call('HMGET', KEYS[2], 'fence', 'epoch', 'head')
local life = redis.call('INFO', 'replication'):match('master_replid:(%x+)')
local time = redis.call('TIME')
local born = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000)) -- this term

if not meta[1] then -- nothing here, or no longer: go on from what this node has
  redis.call('DEL', KEYS[1], KEYS[3])
  for epoch, last in ARGV[4]:gmatch('(%S+) (%d+)') do -- what the node had not read yet is gone
    if tonumber(last) > tonumber(ARGV[3]) then last = ARGV[3] end
    redis.call('RPUSH', KEYS[3], epoch .. ' ' .. last)
  end
  if ARGV[2] ~= '' then redis.call('RPUSH', KEYS[3], ARGV[2] .. ' ' .. ARGV[3]) end
  redis.call('LTRIM', KEYS[3], -256, -1)
  redis.call('HSET', KEYS[2], 'fence', life, 'epoch', ARGV[1], 'head', ARGV[3], 'at', ARGV[5],
    'bytes', 0, 'trimmed', ARGV[3], 'sub', '0 0', 'born', born)
elseif meta[1] ~= life then -- another life of the server: a term ends here
  for i, term in ipairs(redis.call('LRANGE', KEYS[3], 0, -1)) do
    local epoch, last = term:match('(%S+) (%d+)')
    if tonumber(last) > tonumber(meta[3]) then
      redis.call('LSET', KEYS[3], i - 1, epoch .. ' ' .. meta[3])
    end
  end
  redis.call('RPUSH', KEYS[3], meta[2] .. ' ' .. meta[3])
  redis.call('LTRIM', KEYS[3], -256, -1)
  redis.call('HSET', KEYS[2], 'fence', life, 'epoch', ARGV[1], 'born', born)
end

meta = redis.call('HMGET', KEYS[2], 'epoch', 'head', 'trimmed', 'at', 'sub')
local of, sub = (meta[5] or '0 0'):match('(%d+) (%d+)')
if of ~= meta[2] then sub = '0' end
-- what stands behind the end is of something else: nobody could pass it over, nor append
if #redis.call('XRANGE', KEYS[1], '(' .. meta[2] .. '-' .. sub, '+', 'COUNT', 1) > 0 then
  redis.call('DEL', KEYS[1])
  redis.call('HSET', KEYS[2], 'trimmed', meta[2], 'bytes', 0)
  meta[3] = meta[2]
end
return {meta[1], meta[2], meta[3], meta[4], sub, time,
  redis.call('LRANGE', KEYS[3], 0, -1)}
