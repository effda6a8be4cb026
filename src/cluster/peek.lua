-- SPDX-License-Identifier: MIT
-- Who has a lease, and for how long still.
--
-- KEYS  1 {p}n:<node>
--
-- Returns {value, ms}, or nothing when nobody has it.
return {redis.call('GET', KEYS[1]), redis.call('PTTL', KEYS[1])}
