-- The beginning of the script of a projection in Redis. Its sections follow, then redis_end.lua.
--
-- A script of Redis is atomic against everybody else, but what it wrote before an error stays. So every
-- write of a section first notes what takes it back, and an event that is refused takes back the whole
-- transaction. Redis refuses for want of memory, or because it is a replica, only before the first write
-- of a script: there is nothing to take back then.
local books, base, build = KEYS[1], ARGV[1], ARGV[2]
local prefix = base .. build .. ':'
local journal, noted, noted_in = {}, {}, {}
local broken -- What is wrong with the server and not with the event.

local function note(...)
    journal[#journal + 1] = {...}
end

local function note_whole(key)
    if noted[key] then
        return false
    end
    noted[key] = true
    local before = redis.call('DUMP', key)
    if before then
        note('RESTORE', key, '0', before, 'REPLACE')
    else
        note('DEL', key)
    end
end

-- Is this the first change of a part of the key that is not noted as a whole?
local function is_new(key, part)
    if noted[key] then
        return false
    end
    local parts = noted_in[key]
    if not parts then
        parts = {}
        noted_in[key] = parts
    end
    if parts[part] then
        return false
    end
    parts[part] = true
    return true
end

local function note_field(key, field)
    if is_new(key, field) then
        local before = redis.call('HGET', key, field)
        if before then
            note('HSET', key, field, before)
        else
            note('HDEL', key, field)
        end
    end
end

local function note_member(key, member)
    if is_new(key, member) then
        if redis.call('SISMEMBER', key, member) == 1 then
            note('SADD', key, member)
        else
            note('SREM', key, member)
        end
    end
end

local function note_score(key, member)
    if is_new(key, member) then
        local before = redis.call('ZSCORE', key, member)
        if before then
            note('ZADD', key, before, member)
        else
            note('ZREM', key, member)
        end
    end
end

local function undo()
    for i = #journal, 1, -1 do
        redis.pcall(unpack(journal[i]))
    end
end

-- What a command changes, by how it is taken back. `a` are its arguments, the key among them.
local function first_key(a)
    note_whole(a[1])
end
local function all_keys(a)
    for i = 1, #a do
        note_whole(a[i])
    end
end
local function only_value(a)
    if #a ~= 2 then
        error('SET takes a key and a value: what expires is not there after a rebuild', 0)
    end
    note_whole(a[1])
end
local function pairs_of_fields(a)
    for i = 2, #a, 2 do
        note_field(a[1], a[i])
    end
end
local function second(a)
    note_field(a[1], a[2])
end
local function fields(a)
    for i = 2, #a do
        note_field(a[1], a[i])
    end
end
local function members(a)
    for i = 2, #a do
        note_member(a[1], a[i])
    end
end
local options = {NX = true, XX = true, GT = true, LT = true, CH = true, INCR = true}
local function scores(a)
    local i = 2
    while a[i] and options[string.upper(a[i])] do
        i = i + 1
    end
    for j = i + 1, #a, 2 do
        note_score(a[1], a[j])
    end
end
local function third_score(a)
    note_score(a[1], a[3])
end
local function all_scores(a)
    for i = 2, #a do
        note_score(a[1], a[i])
    end
end
local function pushed(command)
    return function(a)
        if not noted[a[1]] then
            return function()
                for _ = 2, #a do
                    note(command, a[1])
                end
            end
        end
    end
end
local function added(a)
    if redis.call('EXISTS', a[1]) == 0 then
        note_whole(a[1]) -- A stream stays when its last entry goes.
    end
    if not noted[a[1]] then
        return function(id)
            note('XDEL', a[1], id)
        end
    end
end

local writes = {
    SET = only_value, SETNX = first_key, APPEND = first_key, SETRANGE = first_key, GETSET = first_key,
    GETDEL = first_key, SETBIT = first_key, INCR = first_key, INCRBY = first_key,
    INCRBYFLOAT = first_key, DECR = first_key, DECRBY = first_key, DEL = all_keys, UNLINK = all_keys,
    HSET = pairs_of_fields, HMSET = pairs_of_fields, HSETNX = second, HINCRBY = second,
    HINCRBYFLOAT = second, HDEL = fields, SADD = members, SREM = members, ZADD = scores,
    ZINCRBY = third_score, ZREM = all_scores, ZREMRANGEBYSCORE = first_key,
    ZREMRANGEBYRANK = first_key, LPUSH = pushed('LPOP'), RPUSH = pushed('RPOP'), LPOP = first_key,
    RPOP = first_key, LSET = first_key, LREM = first_key, LTRIM = first_key, LINSERT = first_key,
    PFADD = first_key, XADD = added, XDEL = first_key, XTRIM = first_key,
}
local reads = {}
for name in string.gmatch(
    'GET MGET STRLEN EXISTS TYPE GETRANGE GETBIT BITCOUNT PFCOUNT HGET HMGET HGETALL HKEYS HVALS ' ..
    'HLEN HEXISTS HSTRLEN SMEMBERS SISMEMBER SMISMEMBER SCARD ZSCORE ZMSCORE ZRANK ZREVRANK ZCARD ' ..
    'ZCOUNT ZLEXCOUNT ZRANGE ZREVRANGE ZRANGEBYSCORE ZREVRANGEBYSCORE ZRANGEBYLEX LLEN LRANGE ' ..
    'LINDEX XLEN XRANGE XREVRANGE', '%u+') do
    reads[name] = true
end
local many_keys = {MGET = true, EXISTS = true, PFCOUNT = true, DEL = true, UNLINK = true}

-- What an error says, without the place in this script that Redis 6 puts before it.
local function words_of(problem)
    local words = type(problem) == 'table' and problem.err or tostring(problem)
    return (string.gsub(words, '^@user_script:%s*%d+:%s*', ''))
end

local function perform(command, arguments)
    local after = writes[command] and writes[command](arguments)
    local reply = redis.call(command, unpack(arguments))
    if after then
        after(reply)
    end
    return reply
end

local system = {OOM = true, READONLY = true, MISCONF = true, NOREPLICAS = true, NOPERM = true,
                MASTERDOWN = true, LOADING = true}

-- What sections use in place of redis.call: keys are those of this build of the projection.
local function call(command, ...)
    command = string.upper(tostring(command))
    if not writes[command] and not reads[command] then
        error(command .. ' is no command that a projection may use', 2)
    end
    local arguments = {...}
    for i = 1, select('#', ...) do
        local kind = type(arguments[i])
        if kind ~= 'string' and kind ~= 'number' then
            error('argument ' .. i .. ' of ' .. command .. ' is ' ..
                  (kind == 'userdata' and 'null' or kind), 2)
        end
        if i == 1 or many_keys[command] then
            arguments[i] = prefix .. arguments[i]
        end
    end
    local done, reply = pcall(perform, command, arguments)
    if not done then
        local words = words_of(reply)
        if system[string.match(words, '^%-?(%u+)')] then
            broken = words
        end
        error(words, 2)
    end
    return reply
end

-- Refuses the event: it is parked, with what comes later in its stream.
local function refuse(reason)
    error(tostring(reason), 0)
end

local function decoded(text, what)
    local good, value = pcall(cjson.decode, text)
    if not good then
        error('the ' .. what .. ' are no JSON', 0)
    end
    return value
end

local event_of = {
    __index = function(event, name)
        local value
        if name == 'data' then
            if not event.is_json then
                error('the data are no JSON', 0)
            end
            value = decoded(event.bytes, 'data')
        elseif name == 'metadata' and event.metadata_bytes ~= '' then
            value = decoded(event.metadata_bytes, 'metadata')
        end
        rawset(event, name, value)
        return value
    end
}
local sections = {}
do
local redis = {sha1hex = redis.sha1hex}
