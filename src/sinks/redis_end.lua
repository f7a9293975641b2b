end
-- Behind the sections of a projection; before it stand `of_type` and `of_every`, the sections of each type.
--
-- ARGV: base, build, mode, from, to, generation, applied, nonce, bump, and then items of WIDTH each.
local WIDTH, FIRST = 11, 10
local mode, from, to, generation = ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local applied, nonce, bump = tonumber(ARGV[7]), ARGV[8], ARGV[9] == '1'

local function field(name)
    return build .. '/' .. name
end

-- Every value that the books get is a text, so that positions stay what they are.
local at = redis.call('HMGET', books, field('position'), field('generation'), field('nonce'))
if not at[1] then
    return {'gone'}
end
if at[3] == nonce then
    return {'done', at[2]} -- This very transaction; only the answer was lost.
end
if at[2] ~= generation or (mode == 'commit' and at[1] ~= from) then
    return {'fenced', at[2]}
end
if mode == 'switch' then
    local live = redis.call('HGET', books, 'live')
    if not live or live == build or redis.call('HGET', books, live .. '/position') ~= to then
        return {'moved', at[2]}
    end
end

local parked, why = base .. build .. '!parked', base .. build .. '!why'

local function padded(position)
    return string.rep('0', 20 - #position) .. position
end

local function park(stream, position, revision, kind, attempts, reason)
    local member = stream .. '\1' .. padded(position)
    note_score(parked, member)
    note_field(why, padded(position))
    redis.call('ZADD', parked, '0', member)
    redis.call('HSET', why, padded(position),
               table.concat({stream, revision, kind, attempts, reason}, '\1'))
end

local function unpark(position)
    local stream = string.match(redis.call('HGET', why, padded(position)), '^([^\1]*)')
    local member = stream .. '\1' .. padded(position)
    note_score(parked, member)
    note_field(why, padded(position))
    redis.call('ZREM', parked, member)
    redis.call('HDEL', why, padded(position))
end

local function keep(position, reason)
    local kept = redis.call('HGET', why, padded(position))
    if kept then
        local stream, revision, kind, attempts = string.match(kept, '^([^\1]*)\1([^\1]*)\1([^\1]*)\1(%d+)')
        note_field(why, padded(position))
        redis.call('HSET', why, padded(position),
                   table.concat({stream, revision, kind, tostring(tonumber(attempts) + 1), reason}, '\1'))
    end
end

local function apply(i, replay)
    local event = setmetatable({
        stream = ARGV[i + 1], revision = tonumber(ARGV[i + 2]), position = ARGV[i + 3],
        type = ARGV[i + 4], created = ARGV[i + 5], id = ARGV[i + 6], is_json = ARGV[i + 7] == '1',
        bytes = ARGV[i + 8], metadata_bytes = ARGV[i + 9],
    }, event_of)
    for _, number in ipairs(of_type[event.type] or of_every) do
        local section = sections[number]
        if not (replay and section.effect) then
            section.run(event)
        end
    end
end

local function perform_item(i)
    local what = ARGV[i]
    if what == 'a' or what == 'r' then
        apply(i, what == 'r')
    elseif what == 'p' then
        park(ARGV[i + 1], ARGV[i + 3], ARGV[i + 2], ARGV[i + 4], ARGV[i + 5], ARGV[i + 10])
    elseif what == 'u' then
        unpark(ARGV[i + 3])
    else
        keep(ARGV[i + 3], ARGV[i + 10])
    end
end

for i = FIRST, #ARGV, WIDTH do
    if ARGV[i] == 'u' and redis.call('HEXISTS', why, padded(ARGV[i + 3])) == 0 then
        undo()
        return {'fenced', at[2]}
    end
    local good, problem = pcall(perform_item, i)
    if not good then
        local words = words_of(problem)
        undo()
        if broken or system[string.match(words, '^%-?(%u+)')] then
            return redis.error_reply(broken or words)
        end
        return {'refused', at[2], ARGV[i + 3], words}
    end
end

redis.call('HSET', books, field('nonce'), nonce)
redis.call('HINCRBY', books, field('events'), applied)
if bump or mode == 'switch' then
    redis.call('HINCRBY', books, field('generation'), 1)
end
if mode ~= 'end' then
    redis.call('HSET', books, field('position'), to)
end
if mode == 'switch' then
    local old = redis.call('HGET', books, 'live')
    redis.call('HSET', books, 'live', build, field('effects'), to)
    redis.call('HDEL', books, 'building', old .. '/version', old .. '/source', old .. '/position',
               old .. '/effects', old .. '/generation', old .. '/events', old .. '/nonce')
    redis.call('SET', base .. 'live', build)
    redis.call('SADD', base .. 'dropped', old)
end
return {'ok', redis.call('HGET', books, field('generation'))}
