/* Appending, reading, deleting, stream metadata: every form that the clients have, values compared.
 *
 * The clients append through BatchAppend, unless a call has credentials of its own: then through
 * Append. Both are tested with the same claims. */

import assert from "node:assert/strict";
import { Client, Server, binaryEvent, collect, conflict, db, expect, fails, finish, fresh, isKurrent, json,
  numbered, numbers, range, revisions, test } from "./lib.mjs";

const { ANY, NO_STREAM, STREAM_EXISTS, START, END, FORWARDS, BACKWARDS } = db;
const APPEND_SIZE_MAX = 4 << 20;
const server = await Server.start({ args: ["--append-size-max", "4MiB", "--event-size-max", "3MiB"] });
const client = server.client();
const polite = server.client({ throwOnAppendFailure: "false" });

const CREDENTIALS = { credentials: { username: "admin", password: "changeit" } };
const RPCS = [["BatchAppend", {}], ["Append", CREDENTIALS]];

/* ---- Appending ---- */

for (const [rpc, how] of RPCS) {
  await test(`${rpc}: every expectation that is right is met, and says where the events are`, async () => {
    const stream = fresh();
    let position = -1n;
    const append = async (state, count, next) => {
      const done = await client.appendToStream(stream, numbered(count), { ...expect(state), ...how });
      assert.equal(done.success, true);
      assert.equal(done.nextExpectedRevision, BigInt(next));
      assert.ok(done.position.commit > position, "positions grow");
      assert.equal(done.position.commit, done.position.prepare);
      position = done.position.commit;
    };
    await append(NO_STREAM, 1, 0);
    await append(ANY, 2, 2);
    await append(STREAM_EXISTS, 1, 3);
    await append(3n, 3, 6);
    const events = await collect(client.readStream(stream));
    assert.deepEqual(revisions(events), range(0, 7));
    assert.equal(events.at(-1).event.position.commit, position);
  });

  await test(`${rpc}: every expectation that is wrong is a WrongExpectedVersionError with both sides`, async () => {
    const stream = fresh();
    const none = fresh();
    await client.appendToStream(stream, numbered(3));
    const append = (name, state) => client.appendToStream(name, json("x"), { ...expect(state), ...how });
    await fails(append(stream, NO_STREAM), "WrongExpectedVersionError", conflict(stream, NO_STREAM, 2n));
    await fails(append(stream, 1n), "WrongExpectedVersionError", conflict(stream, 1n, 2n));
    await fails(append(stream, 5n), "WrongExpectedVersionError", conflict(stream, 5n, 2n));
    await fails(append(none, 0n), "WrongExpectedVersionError", conflict(none, 0n, NO_STREAM));
    await fails(append(none, STREAM_EXISTS), "WrongExpectedVersionError", conflict(none, STREAM_EXISTS, NO_STREAM));
    assert.equal((await collect(client.readStream(stream))).length, 3);
    await fails(client.readStream(none), "StreamNotFoundError", { streamName: none });
  });

  await test(`${rpc}: with throwOnAppendFailure=false a conflict is a result`, async () => {
    const stream = fresh();
    await client.appendToStream(stream, numbered(2));
    const done = await polite.appendToStream(stream, json("x"), { ...expect(0n), ...how });
    assert.equal(done.success, false);
    assert.equal(done.nextExpectedRevision, 1n);
  });

  await test(`${rpc}: a repetition is acknowledged as the first time, and writes nothing`, async () => {
    const stream = fresh();
    const events = numbered(3);
    for (const state of [NO_STREAM, ANY, STREAM_EXISTS]) {
      const done = await client.appendToStream(stream, events, { ...expect(state), ...how });
      assert.equal(done.nextExpectedRevision, 2n);
    }
    await client.appendToStream(stream, numbered(2, "later"), how);
    const again = await client.appendToStream(stream, events, { ...expect(ANY), ...how });
    assert.equal(again.nextExpectedRevision, 2n);
    const mixed = [...events.slice(1), json("new")];
    await fails(client.appendToStream(stream, mixed, { ...expect(ANY), ...how }), "WrongExpectedVersionError");
    assert.equal((await collect(client.readStream(stream))).length, 5);
  });

  await test(`${rpc}: JSON and bytes, metadata, ids and types come back as they went`, async () => {
    const stream = fresh();
    const text = { words: "größer als 10 €, 日本, \u0001 and \"quotes\"", list: [1, 2.5, null, { deep: true }] };
    const bytes = Uint8Array.from(range(0, 256));
    const given = [
      json("json", text, { metadata: { by: "me", $correlationId: "c-1" } }),
      json("json-bytes", text, { metadata: bytes }),
      json("plain", text),
      binaryEvent("bytes", bytes, { metadata: { by: "me" } }),
      binaryEvent("bytes-bytes", bytes, { metadata: bytes }),
      binaryEvent("$ type with spaces", ""),
    ];
    const before = Date.now();
    await client.appendToStream(stream, given, how);
    const events = await collect(client.readStream(stream));
    assert.equal(events.length, given.length);
    events.forEach(({ event, link, commitPosition }, i) => {
      assert.equal(link, undefined);
      assert.equal(event.streamId, stream);
      assert.equal(event.revision, BigInt(i));
      assert.equal(event.id, given[i].id);
      assert.equal(event.type, given[i].type);
      assert.equal(event.isJson, given[i].contentType === "application/json");
      assert.deepEqual(event.isJson ? event.data : Uint8Array.from(event.data),
        event.isJson ? text : Uint8Array.from(given[i].data));
      const metadata = given[i].metadata;
      assert.deepEqual(event.metadata instanceof Uint8Array ? Uint8Array.from(event.metadata) : event.metadata,
        metadata instanceof Uint8Array ? Uint8Array.from(metadata) : metadata);
      assert.ok(Math.abs(event.created - before) < 60_000, `created ${event.created}`);
      assert.equal(event.position.commit, commitPosition);
    });
  });

  await test(`${rpc}: a deleted stream goes on where it was, a tombstoned one is gone for ever`, async () => {
    const stream = fresh();
    await client.appendToStream(stream, numbered(3), how);
    assert.ok((await client.deleteStream(stream, { expectedRevision: 2n, ...how })).position.commit > 0n);
    await fails(client.readStream(stream), "StreamNotFoundError", { streamName: stream });
    assert.equal((await client.appendToStream(stream, numbered(2), { ...expect(NO_STREAM), ...how })).nextExpectedRevision, 4n);
    assert.deepEqual(revisions(await collect(client.readStream(stream))), [3, 4]);
    assert.ok((await client.tombstoneStream(stream, { expectedRevision: ANY, ...how })).position.commit > 0n);
    const gone = { streamName: stream };
    await fails(client.readStream(stream), "StreamDeletedError", gone);
    await fails(client.appendToStream(stream, json("x"), how), "StreamDeletedError", gone);
    await fails(client.deleteStream(stream, how), "StreamDeletedError", gone);
    await fails(client.tombstoneStream(stream, how), "StreamDeletedError", gone);
  });

  await test(`${rpc}: an append larger than the server allows is a MaxAppendSizeExceededError`, async () => {
    const stream = fresh();
    const half = "x".repeat(APPEND_SIZE_MAX / 2);
    const events = [json("big", half), json("big", half)];
    await fails(client.appendToStream(stream, events, how), "MaxAppendSizeExceededError", { maxAppendSize: APPEND_SIZE_MAX });
    await fails(client.readStream(stream), "StreamNotFoundError");
  });
}

await test("an append in many messages is one append", async () => {
  const stream = fresh();
  const events = numbered(500);
  const done = await client.appendToStream(stream, events, { ...expect(NO_STREAM), batchAppendSize: 1000 });
  assert.equal(done.nextExpectedRevision, 499n);
  const read = await collect(client.readStream(stream));
  assert.deepEqual(read.map(({ event }) => event.id), events.map(({ id }) => id));
  const again = client.appendToStream(stream, numbered(500), { ...expect(NO_STREAM), batchAppendSize: 1000 });
  await fails(again, "WrongExpectedVersionError", conflict(stream, NO_STREAM, 499n));
});

await test("a thousand appends at once are acknowledged each, and all are there once", async () => {
  const streams = range(0, 20).map(() => fresh("flood"));
  const given = range(0, 1000).map((n) => [streams[n % 20], json("flood", { n })]);
  const done = await Promise.all(given.map(([stream, event]) => client.appendToStream(stream, event)));
  for (const stream of streams) {
    const mine = given.map(([name, event], i) => [name, event.data.n, done[i].nextExpectedRevision])
      .filter(([name]) => name === stream);
    const read = await collect(client.readStream(stream));
    assert.deepEqual(read.map(({ event }) => [stream, event.data.n, event.revision]), mine);
  }
});

await test("an append of nothing is fine, and its expectation is looked at", async () => {
  const stream = fresh();
  await client.appendToStream(stream, numbered(2));
  assert.equal((await client.appendToStream(stream, [], CREDENTIALS)).nextExpectedRevision, 1n);
  await fails(client.appendToStream(stream, [], { ...expect(7n), ...CREDENTIALS }), "WrongExpectedVersionError");
});

if (isKurrent) {
  const metadataOf = (type, more = {}) => ({ "$schema.name": type, "$schema.format": "Json", ...more });
  const session = (...parts) => client.multiStreamAppend(parts.map(([streamName, expectedState, events]) =>
    ({ streamName, expectedState, events })));

  await test("multiStreamAppend: streams are appended to together", async () => {
    const [a, b, c] = [fresh(), fresh(), fresh()];
    await client.appendToStream(b, numbered(1));
    const events = [json("one", { n: 1 }, { metadata: { by: "me" } }), json("two", { n: 2 }, { metadata: {} })];
    const done = await session([a, NO_STREAM, events], [b, 0n, numbered(3)], [c, ANY, [binaryEvent("bytes", "abc")]]);
    assert.deepEqual(done.responses, [{ streamName: a, revision: 1n }, { streamName: b, revision: 3n },
      { streamName: c, revision: 0n }]);
    const read = await collect(client.readStream(a));
    assert.deepEqual(read.map(({ event }) => [event.type, event.data, event.metadata, event.id]),
      events.map((event) => [event.type, event.data, metadataOf(event.type, event.metadata), event.id]));
    const [{ event: last }] = await collect(client.readStream(c));
    assert.deepEqual([last.isJson, String(Buffer.from(last.data)), last.position.commit], [false, "abc", done.position]);
    assert.deepEqual(last.metadata, { "$schema.name": "bytes", "$schema.format": "Bytes" });
  });

  await test("multiStreamAppend: one conflict, and nothing is appended anywhere", async () => {
    const [a, b, gone] = [fresh(), fresh(), fresh()];
    await client.appendToStream(b, numbered(2));
    await client.tombstoneStream(gone);
    await fails(session([a, NO_STREAM, numbered(1)], [b, 7n, numbered(1)]), "WrongExpectedVersionError", conflict(b, 7n, 1n));
    await fails(session([a, NO_STREAM, numbered(1)], [b, NO_STREAM, numbered(1)]), "WrongExpectedVersionError",
      conflict(b, NO_STREAM, 1n));
    await fails(session([a, ANY, numbered(1)], [gone, ANY, numbered(1)]), "StreamTombstonedError", { stream: gone });
    await fails(client.readStream(a), "StreamNotFoundError");
    assert.equal((await collect(client.readStream(b))).length, 2);
  });

  await test("appendRecords: records of several streams in any order, with checks of these and others", async () => {
    const [a, b, other] = [fresh(), fresh(), fresh()];
    await client.appendToStream(other, numbered(4));
    const records = [[a, 0], [b, 1], [a, 2], [b, 3], [a, 4]].map(([streamName, n]) =>
      ({ streamName, record: json("mixed", { n }, { metadata: { n: String(n) } }) }));
    const check = (streamName, expectedState) => ({ type: db.STREAM_STATE, streamName, expectedState });
    const done = await client.appendRecords(records, [check(a, NO_STREAM), check(other, 3n)]);
    assert.deepEqual(done.responses, [{ streamName: a, revision: 2n }, { streamName: b, revision: 1n }]);
    const read = await collect(client.readStream(a));
    assert.deepEqual(read.map(({ event }) => [event.data.n, event.metadata]),
      [0, 2, 4].map((n) => [n, metadataOf("mixed", { n: String(n) })]));
    const [{ event: last }] = await collect(client.readAll({ direction: BACKWARDS, fromPosition: END, maxCount: 1 }));
    assert.equal(last.position.commit, done.position);
    const others = records.map(({ streamName, record }) => ({ streamName, record: { ...record, id: json("x").id } }));
    const checks = [check(other, NO_STREAM), check(b, 7n)];
    const { violations } = await fails(client.appendRecords(others, checks), "AppendConsistencyViolationError");
    assert.deepEqual(violations.sort((x, y) => x.checkIndex - y.checkIndex), [
      { checkIndex: 0, streamName: other, expectedState: NO_STREAM, actualState: 3n },
      { checkIndex: 1, streamName: b, expectedState: 7n, actualState: 1n },
    ]);
    const repeated = await client.appendRecords(records);
    assert.deepEqual(repeated.responses, done.responses);
    assert.equal((await collect(client.readStream(a))).length, 3);
  });

  await test("multiStreamAppend, appendRecords: too much is an error with sizes", async () => {
    const half = "x".repeat(APPEND_SIZE_MAX / 2);
    const events = [json("big", half), json("big", half)];
    const name = fresh();
    await fails(session([name, ANY, events]), "TransactionMaxSizeExceededError", { maxSize: APPEND_SIZE_MAX });
    const records = events.map((record) => ({ streamName: name, record }));
    await fails(client.appendRecords(records), "TransactionMaxSizeExceededError", { maxSize: APPEND_SIZE_MAX });
  });
}

/* ---- Reading ---- */

const book = fresh("book");
await client.appendToStream(book, numbered(100));
const read = async (options) => numbers(await collect(client.readStream(book, options)));

await test("a stream is read in both directions, from any revision, as much as is wanted", async () => {
  assert.deepEqual(await read(), range(0, 100));
  assert.deepEqual(await read({ direction: FORWARDS, fromRevision: START, maxCount: 10 }), range(0, 10));
  assert.deepEqual(await read({ fromRevision: 95n }), range(95, 100));
  assert.deepEqual(await read({ fromRevision: 40n, maxCount: 2 }), [40, 41]);
  assert.deepEqual(await read({ fromRevision: 100n }), []);
  assert.deepEqual(await read({ direction: BACKWARDS, fromRevision: END }), range(0, 100).reverse());
  assert.deepEqual(await read({ direction: BACKWARDS, fromRevision: END, maxCount: 1 }), [99]);
  assert.deepEqual(await read({ direction: BACKWARDS, fromRevision: 3n }), [3, 2, 1, 0]);
  assert.deepEqual(await read({ direction: BACKWARDS, fromRevision: 1000n, maxCount: 1 }), [99]);
});

await test("a stream that is not there is a StreamNotFoundError, in both directions", async () => {
  const name = fresh("$none, with ünicode");
  await fails(client.readStream(name), "StreamNotFoundError", { streamName: name });
  await fails(client.readStream(name, { direction: BACKWARDS, fromRevision: END }), "StreamNotFoundError");
});

const isMine = ({ event }) => event.streamId === book;

await test("all events are read in both directions, from any position, as many as are wanted", async () => {
  const all = await collect(client.readAll());
  assert.deepEqual(numbers(all.filter(isMine)), range(0, 100));
  const positions = all.map(({ event }) => event.position.commit);
  assert.deepEqual(positions, [...positions].sort((a, b) => (a < b ? -1 : 1)));
  const ids = (events) => events.map(({ event }) => event.id);
  const backwards = await collect(client.readAll({ direction: BACKWARDS, fromPosition: END }));
  assert.deepEqual(ids(backwards), ids(all).reverse());
  const fromPosition = all.find(({ event }) => event.streamId === book && event.revision === 50n).event.position;
  const later = await collect(client.readAll({ fromPosition, maxCount: 5 }));
  assert.deepEqual(numbers(later), range(50, 55));
  const earlier = await collect(client.readAll({ direction: BACKWARDS, fromPosition, maxCount: 5 }));
  assert.deepEqual(numbers(earlier), range(45, 50).reverse());
});

/* KurrentDB's client reads forwards when it is told to start at the start, whatever else it is told, and
 * backwards from the end. */
if (!isKurrent) {
  await test("beyond the start and the end there is nothing to read", async () => {
    assert.deepEqual(await read({ fromRevision: END }), []);
    assert.deepEqual(await read({ direction: BACKWARDS, fromRevision: START }), [0]);
    assert.deepEqual(await collect(client.readAll({ direction: BACKWARDS, fromPosition: START })), []);
    assert.deepEqual(await collect(client.readAll({ fromPosition: END })), []);
  });
}

await test("links are followed if that is wanted, and stay links where their target is gone", async () => {
  const [target, gone, links] = [fresh("target"), fresh("gone"), fresh("links")];
  await client.appendToStream(target, numbered(3));
  await client.appendToStream(gone, numbered(1));
  const pointers = [`1@${target}`, `0@${gone}`, `9@${target}`];
  await client.appendToStream(links, [...pointers.map((to) => binaryEvent("$>", to)), json("own", { n: 7 })]);
  await client.deleteStream(gone);
  const raw = await collect(client.readStream(links));
  assert.deepEqual(raw.map(({ event, link }) => [event.streamId, event.type, link]),
    ["$>", "$>", "$>", "own"].map((type) => [links, type, undefined]));
  const resolved = await collect(client.readStream(links, { resolveLinkTos: true }));
  assert.deepEqual(resolved.map(({ event, link }) =>
    [event?.streamId, event?.data.n, link?.streamId, link && String(Buffer.from(link.data))]),
  [[target, 1, links, pointers[0]], [undefined, undefined, links, pointers[1]],
    [undefined, undefined, links, pointers[2]], [links, 7, undefined, undefined]]);
  assert.equal(resolved[0].link.revision, 0n);
  assert.equal(resolved[0].commitPosition, resolved[0].link.position.commit);
  const all = await collect(client.readAll({ direction: BACKWARDS, fromPosition: END, maxCount: 6, resolveLinkTos: true }));
  assert.equal(all.filter(({ link }) => link?.streamId === links).length, 3);
  assert.ok(all.some(({ event, link }) => link?.streamId === links && event?.streamId === target));
});

if (isKurrent) {
  await test("all events are filtered by types and streams, by prefixes and patterns, both ways", async () => {
    const prefix = fresh("shelf");
    for (const name of ["a", "b", "c"]) await client.appendToStream(`${prefix}/${name}`, numbered(4, `${prefix}.${name}`));
    const types = async (filter, options = {}) =>
      (await collect(client.readAll({ filter, ...options }))).map(({ event }) => event.type);
    const four = (...names) => names.flatMap((name) => Array(4).fill(`${prefix}.${name}`));
    assert.deepEqual(await types(db.eventTypeFilter({ prefixes: [`${prefix}.a`, `${prefix}.c`] })), four("a", "c"));
    assert.deepEqual(await types(db.eventTypeFilter({ regex: `^${prefix}\\.[bc]$` })), four("b", "c"));
    assert.deepEqual(await types(db.streamNameFilter({ prefixes: [`${prefix}/b`] })), four("b"));
    assert.deepEqual(await types(db.streamNameFilter({ regex: `${prefix}/[ab]` })), four("a", "b"));
    const backwards = { direction: BACKWARDS, fromPosition: END, maxCount: 5 };
    assert.deepEqual(await types(db.streamNameFilter({ prefixes: [prefix] }), backwards),
      four("a", "b", "c").reverse().slice(0, 5));
    const user = await collect(client.readAll({ filter: db.excludeSystemEvents() }));
    assert.ok(user.length > 0);
    assert.ok(user.every(({ event }) => !event.type.startsWith("$")));
  });
}

/* ---- Deleting, metadata ---- */

await test("deleting and tombstoning look at their expectation", async () => {
  const stream = fresh();
  await client.appendToStream(stream, numbered(3));
  for (const remove of ["deleteStream", "tombstoneStream"]) {
    await fails(client[remove](stream, { expectedRevision: 1n }), "WrongExpectedVersionError", conflict(stream, 1n, 2n));
    await fails(client[remove](stream, { expectedRevision: NO_STREAM }), "WrongExpectedVersionError", { streamName: stream });
  }
  await fails(client.deleteStream(fresh()), "WrongExpectedVersionError");
  assert.equal((await collect(client.readStream(stream))).length, 3);
  const never = fresh();
  await client.tombstoneStream(never, { expectedRevision: NO_STREAM });
  await fails(client.readStream(never), "StreamDeletedError", { streamName: never });
});

await test("metadata of a stream come back as they were set, and have revisions", async () => {
  const stream = fresh();
  assert.deepEqual(await client.getStreamMetadata(stream), { streamName: stream });
  const metadata = { maxAge: 3600, maxCount: 20, truncateBefore: 5, cacheControl: 10, mine: { list: [1, "two"] },
    acl: { readRoles: ["admin", "ops"], writeRoles: ["admin"], deleteRoles: ["admin"], metaReadRoles: ["$all"],
      metaWriteRoles: ["admin"] } };
  const set = await client.setStreamMetadata(stream, metadata, expect(NO_STREAM));
  assert.equal(set.nextExpectedRevision, 0n);
  /* What the clients call the metastream's revision is a position. */
  const get = async () => ({ ...(await client.getStreamMetadata(stream)), metastreamRevision: undefined });
  assert.deepEqual(await get(), { streamName: stream, metadata, metastreamRevision: undefined });
  assert.equal((await client.getStreamMetadata(stream)).metastreamRevision, set.position.commit);
  await fails(client.setStreamMetadata(stream, {}, expect(NO_STREAM)), "WrongExpectedVersionError",
    conflict(`$$${stream}`, NO_STREAM, 0n));
  await client.setStreamMetadata(stream, { other: 1 }, expect(0n));
  assert.deepEqual(await get(), { streamName: stream, metadata: { other: 1 }, metastreamRevision: undefined });
});

await test("metadata hide events: maxCount, truncateBefore, maxAge", async () => {
  const stream = fresh();
  await client.appendToStream(stream, numbered(10));
  const left = async (metadata) => {
    await client.setStreamMetadata(stream, metadata);
    return revisions(await collect(client.readStream(stream)));
  };
  assert.deepEqual(await left({ maxCount: 3 }), [7, 8, 9]);
  assert.deepEqual(await left({ truncateBefore: 5 }), range(5, 10));
  assert.deepEqual(await left({ truncateBefore: 5, maxCount: 8 }), range(5, 10));
  assert.deepEqual(await left({ maxAge: 3600 }), range(0, 10));
  assert.deepEqual(await left({}), range(0, 10));
});

await test("a client that was disposed of says so, and others are not touched", async () => {
  const other = Client.connectionString(server.address());
  await other.appendToStream(fresh(), json("x"));
  await other.dispose();
  assert.deepEqual(await read({ maxCount: 1 }), [0]);
});

await finish(server, client, polite);
