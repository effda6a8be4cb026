-- SPDX-License-Identifier: MIT
-- Where the log stands, who has a lease, and what time it is.
--
-- KEYS  1 {p}meta  2 {p}nodes
--
-- Returns {epoch, head, {node, ...}, ms}; without a log of this life of the server {'', '0', nodes,
-- ms}.
local now = redis.call('TIME')
now = now[1] * 1000 + math.floor(now[2] / 1000)
local all, nodes = redis.call('HGETALL', KEYS[2]), {}
for i = 1, #all, 2 do
  if tonumber(all[i + 1]) > now then nodes[#nodes + 1] = all[i] end
end
local at = string.format('%.0f', now)
local meta = redis.call('HMGET', KEYS[1], 'fence', 'epoch', 'head')
local life = redis.call('INFO', 'replication'):match('master_replid:(%x+)')
if not meta[1] or meta[1] ~= life then return {'', '0', nodes, at} end
return {meta[2], meta[3], nodes, at}
