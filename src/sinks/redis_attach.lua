-- Finds or makes the build that a run works on. ARGV: base, name, store, version, source, effects_after,
-- rebuild, must_exist.
local books, base = KEYS[1], ARGV[1]
local name, store, version, source, effects = ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local rebuild, must_exist = ARGV[7] == '1', ARGV[8] == '1'

local function get(field)
    return redis.call('HGET', books, field)
end

local function create(state, effects_after)
    local build = tostring(redis.call('HINCRBY', books, 'builds', 1))
    redis.call('HSET', books, state, build, 'store', store, build .. '/version', version,
               build .. '/source', source, build .. '/position', '0', build .. '/effects', effects_after,
               build .. '/generation', '0', build .. '/events', '0', build .. '/nonce', '')
    redis.call('SADD', 'stele:projections', name)
    return build
end

local function place(build, building)
    return {'ok', build, building, get(build .. '/position'), get(build .. '/effects'),
            get(build .. '/generation')}
end

local live = get('live')
if not live then
    if must_exist then
        return {'none'}
    end
    live = create('live', effects)
    redis.call('SET', base .. 'live', live)
    return place(live, '0')
end
if get('store') ~= store then
    return {'store'}
end
if not rebuild then
    if get(live .. '/version') ~= version then
        return {'version', get(live .. '/version')}
    end
    if get(live .. '/source') ~= source then
        return {'source'}
    end
    return place(live, '0')
end
local building = get('building')
if building and get(building .. '/version') == version and get(building .. '/source') == source then
    return place(building, '1')
end
if building then
    redis.call('HDEL', books, 'building', building .. '/version', building .. '/source',
               building .. '/position', building .. '/effects', building .. '/generation',
               building .. '/events', building .. '/nonce')
    redis.call('SADD', base .. 'dropped', building)
end
return place(create('building', '9223372036854775807'), '1')
