-- SPDX-License-Identifier: MIT
-- Whether all that this gateway does is allowed to its user: tries each command on a key of its
-- own, and tells those that were refused.
--
-- KEYS  1 {p}check
-- ARGV  1 a channel
--
-- Returns {command, error, ...}.
local key, refused = KEYS[1], {}
local tries = {
  {'DEL', key}, {'SET', key, '1', 'PX', '1000'}, {'GET', key}, {'MGET', key}, {'PTTL', key},
  {'TYPE', key}, {'PEXPIRE', key, '1000'}, {'DEL', key},
  {'HSET', key, 'a', '1'}, {'HGET', key, 'a'}, {'HMGET', key, 'a'},
  {'HGETALL', key}, {'HDEL', key, 'a'}, {'DEL', key},
  {'RPUSH', key, 'a'}, {'LRANGE', key, '0', '-1'}, {'LSET', key, '0', 'b'},
  {'LTRIM', key, '-1', '-1'}, {'DEL', key},
  {'XADD', key, '1-0', 'h', '1'}, {'XRANGE', key, '-', '+'},
  {'XREAD', 'COUNT', '1', 'STREAMS', key, '0-0'}, {'XTRIM', key, 'MINID', '2'}, {'DEL', key},
  {'INFO', 'replication'}, {'TIME'}, {'PUBLISH', ARGV[1], ''},
}
for _, try in ipairs(tries) do
  local answer = redis.pcall(unpack(try))
  if type(answer) == 'table' and answer.err then
    refused[#refused + 1] = try[1]
    refused[#refused + 1] = answer.err
  end
end
return refused
