/* Catch-up subscriptions: from anywhere, filtered or not, through the switch from what is stored to what
 * comes, nothing skipped and nothing twice. Nothing here sleeps: a subscription is followed until what was
 * expected has come, and what must not come is looked for before an event that must. */

import assert from "node:assert/strict";
import { Server, collect, db, fails, finish, follow, fresh, isKurrent, json, numbered, numbers, range, test, until,
  binaryEvent } from "./lib.mjs";

const { START, END } = db;
const server = await Server.start();
const client = server.client();
const append = (stream, events) => client.appendToStream(stream, events);
const endOfAll = async () => {
  const [last] = await collect(client.readAll({ direction: db.BACKWARDS, fromPosition: END, maxCount: 1 }));
  return last.event.position;
};

await test("a stream is followed from its start, from after a revision, and from its end", async () => {
  const stream = fresh();
  await append(stream, numbered(10));
  const cases = [[START, 0], [4n, 5], [9n, 10], [END, 10], [20n, 21]];
  const follows = cases.map(([fromRevision]) => follow(client.subscribeToStream(stream, { fromRevision })));
  for (const followed of follows) {
    await followed.confirmation();
    assert.equal(typeof followed.subscription.id, "string");
    await followed.until(({ caughtUp }) => caughtUp.length > 0);
  }
  await append(stream, numbered(20, "counted", 10));
  for (const [i, [, first]] of cases.entries()) {
    const { events } = await follows[i].has(30 - first);
    assert.deepEqual(numbers(events), range(first, 30), `from ${cases[i][0]}`);
    assert.ok(events.every(({ event }) => event.streamId === stream && event.revision === BigInt(event.data.n)));
  }
  for (const followed of follows) await followed.stop();
});

await test("a stream that does not exist yet is waited for, a deleted one, too", async () => {
  const [none, deleted] = [fresh(), fresh()];
  await append(deleted, numbered(3));
  await client.deleteStream(deleted);
  const follows = [none, deleted].map((name) => follow(client.subscribeToStream(name)));
  for (const followed of follows) await followed.until(({ caughtUp }) => caughtUp.length > 0);
  await append(none, json("first", { n: 0 }));
  await append(deleted, json("again", { n: 3 }));
  assert.deepEqual(numbers((await follows[0].has(1)).events), [0]);
  assert.deepEqual(numbers((await follows[1].has(1)).events), [3]);
  for (const followed of follows) await followed.stop();
});

await test("a tombstoned stream is a StreamDeletedError, at once or when it happens", async () => {
  const stream = fresh();
  await append(stream, numbered(2));
  const before = follow(client.subscribeToStream(stream));
  await before.has(2);
  await client.tombstoneStream(stream);
  await fails(before.failure(), "StreamDeletedError", { streamName: stream });
  const after = follow(client.subscribeToStream(stream));
  await fails(after.failure(), "StreamDeletedError", { streamName: stream });
  assert.deepEqual(after.events, []);
});

await test("all events are followed from the start, from after a position, and from the end", async () => {
  const stream = fresh();
  await append(stream, numbered(5));
  const stored = await collect(client.readAll());
  const middle = stored.find(({ event }) => event.streamId === stream && event.data.n === 2);
  const follows = [START, middle.event.position, END].map((fromPosition) => follow(client.subscribeToAll({ fromPosition })));
  for (const followed of follows) await followed.until(({ caughtUp }) => caughtUp.length > 0);
  await append(stream, numbered(5, "counted", 5));
  const mine = (followed) => followed.events.filter(({ event }) => event.streamId === stream);
  for (const [i, first] of [0, 3, 5].entries()) {
    await follows[i].until((followed) => mine(followed).length >= 10 - first);
    assert.deepEqual(numbers(mine(follows[i])), range(first, 10));
  }
  const ids = (events) => events.map(({ event }) => event.id);
  const everything = await collect(client.readAll());
  assert.deepEqual(ids(follows[0].events), ids(everything));
  const positions = follows[0].events.map(({ event }) => event.position.commit);
  assert.deepEqual(positions, everything.map(({ commitPosition }) => commitPosition));
  for (const followed of follows) await followed.stop();
});

await test("caughtUp comes whenever the end is reached, and tells where that is", async () => {
  const stream = fresh();
  const { position } = await append(stream, numbered(3));
  const one = follow(client.subscribeToStream(stream));
  const all = follow(client.subscribeToAll());
  await one.until(({ caughtUp }) => caughtUp.length > 0);
  await all.until(({ caughtUp }) => caughtUp.length > 0);
  assert.equal(one.events.length, 3);
  if (isKurrent) {
    assert.equal(one.caughtUp[0].revision, 2n);
    assert.ok(Math.abs(one.caughtUp[0].date - Date.now()) < 60_000);
    assert.ok(all.caughtUp[0].position.commit >= position.commit);
  }
  await one.stop();
  await all.stop();
});

const prefix = fresh("zoo");
const ANIMALS = ["ape", "bee", "cat"];
const filters = {
  "types by prefix": [db.eventTypeFilter, { prefixes: [`${prefix}.ape`, `${prefix}.cat`] }, ["ape", "cat"]],
  "types by pattern": [db.eventTypeFilter, { regex: `^${prefix}\\.(bee|cat)$` }, ["bee", "cat"]],
  "streams by prefix": [db.streamNameFilter, { prefixes: [`${prefix}-bee`] }, ["bee"]],
  "streams by pattern": [db.streamNameFilter, { regex: `${prefix}-[ab]` }, ["ape", "bee"]],
};
for (const [name, [make, options, wanted]] of Object.entries(filters)) {
  await test(`filtered subscription, ${name}: what is stored and what comes`, async () => {
    const from = (await collect(client.readAll({ direction: db.BACKWARDS, fromPosition: END, maxCount: 1 })))[0].event.position;
    const feed = async (round) => {
      for (const animal of ANIMALS) await append(`${prefix}-${animal}`, numbered(3, `${prefix}.${animal}`, 3 * round));
    };
    await feed(0);
    const followed = follow(client.subscribeToAll({ fromPosition: from, filter: make(options) }));
    await followed.until(({ caughtUp }) => caughtUp.length > 0);
    await feed(1);
    const expected = [0, 1].flatMap((round) => wanted.flatMap((animal) => range(0, 3).map((i) => `${prefix}.${animal} ${3 * round + i}`)));
    await followed.has(expected.length);
    assert.deepEqual(followed.events.map(({ event }) => `${event.type} ${event.data.n}`), expected);
    await followed.stop();
  });
}

await test("without system events there are only users' events", async () => {
  const stream = fresh();
  await client.setStreamMetadata(stream, { maxCount: 100 });
  await append(stream, json("last", {}));
  const followed = follow(client.subscribeToAll({ filter: db.excludeSystemEvents() }));
  await followed.until(({ events }) => events.at(-1)?.event.streamId === stream);
  assert.ok(followed.events.every(({ event }) => !event.type.startsWith("$")));
  await followed.stop();
});

await test("checkpoints of a filter come at its interval, and nothing is lost behind one", async () => {
  const [wanted, other] = [fresh("wanted"), fresh("other")];
  const fromPosition = await endOfAll();
  const places = [];
  const filterFor = (checkpointReached) =>
    db.streamNameFilter({ prefixes: [wanted], checkpointInterval: 2, maxSearchWindow: 32, checkpointReached });
  /* 640 events that do not fit: a checkpoint after every 64 of them. */
  await append(other, numbered(320));
  await append(wanted, numbered(3));
  await append(other, numbered(320));
  const followed = follow(client.subscribeToAll({ fromPosition, filter: filterFor((_, position) => { places.push(position); }) }));
  await followed.until(({ caughtUp }) => caughtUp.length > 0 && places.length >= 10);
  assert.deepEqual(numbers(followed.events), [0, 1, 2]);
  const commits = places.map(({ commit }) => commit);
  assert.deepEqual(commits, [...new Set(commits)].sort((a, b) => (a < b ? -1 : 1)));
  assert.ok(places.length <= 12, `${places.length} checkpoints`);
  await followed.stop();
  /* From any of them on: exactly what had not come before it. */
  for (const place of [places[0], places[5], places.at(-1)]) {
    const next = follow(client.subscribeToAll({ fromPosition: place, filter: filterFor() }));
    await next.until(({ caughtUp }) => caughtUp.length > 0);
    const left = followed.events.filter(({ event }) => event.position.commit > place.commit);
    assert.deepEqual(numbers(next.events), numbers(left));
    await next.stop();
  }
});

await test("links are followed in subscriptions", async () => {
  const [target, links] = [fresh("target"), fresh("links")];
  await append(target, numbered(3));
  await append(links, [binaryEvent("$>", `2@${target}`), binaryEvent("$>", `7@${target}`)]);
  const followed = follow(client.subscribeToStream(links, { resolveLinkTos: true }));
  await followed.has(2);
  await append(links, binaryEvent("$>", `0@${target}`));
  await followed.has(3);
  assert.deepEqual(followed.events.map(({ event, link }) => [event?.data.n, link.streamId, Number(link.revision)]),
    [[2, links, 0], [undefined, links, 1], [0, links, 2]]);
  await followed.stop();
});

await test("under load, subscriptions that begin at any moment skip nothing and repeat nothing", async () => {
  const streams = range(0, 4).map(() => fresh("load"));
  const COUNT = 400;
  const fromPosition = await endOfAll();
  const pairs = [];
  const writers = streams.map(async (stream) => {
    for (let n = 0; n < COUNT; n += 4) await append(stream, numbered(4, "load", n));
  });
  for (let i = 0; i < 8; i++) {
    pairs.push([follow(client.subscribeToStream(streams[i % 4])),
      follow(client.subscribeToAll({ fromPosition, filter: db.eventTypeFilter({ prefixes: ["load"] }) }))]);
    await until(() => pairs[i][0].confirmed && pairs[i][1].confirmed, "confirmations");
  }
  await Promise.all(writers);
  const all = (await collect(client.readAll({ fromPosition }))).filter(({ event }) => event.type === "load");
  assert.equal(all.length, 4 * COUNT);
  const positions = (events) => events.map(({ event }) => event.position.commit);
  for (const [one, everything] of pairs) {
    await one.has(COUNT);
    assert.deepEqual(numbers(one.events), range(0, COUNT));
    await everything.has(all.length);
    assert.deepEqual(positions(everything.events), positions(all));
    await one.stop();
    await everything.stop();
  }
});

await test("a subscriber that is slow is waited for and gets everything in order", async () => {
  const stream = fresh("slow");
  const big = "x".repeat(4000);
  for (let n = 0; n < 2000; n += 500) {
    await append(stream, range(n, n + 500).map((i) => json("big", { n: i, big })));
  }
  const subscription = client.subscribeToStream(stream, {}, { highWaterMark: 1 });
  const seen = [];
  for await (const { event } of subscription) {
    seen.push(event.data.n);
    /* By the time that it reads on, more has been written than any buffer between holds. */
    if (seen.length === 1) await append(stream, range(2000, 2100).map((i) => json("big", { n: i, big })));
    if (seen.length % 50 === 0) await new Promise(setImmediate);
    if (seen.length === 2100) break;
  }
  assert.deepEqual(seen, range(0, 2100));
});

await test("after unsubscribing nothing comes, and the others go on", async () => {
  const stream = fresh();
  const [gone, stays] = [follow(client.subscribeToStream(stream)), follow(client.subscribeToStream(stream))];
  await gone.confirmation();
  await stays.confirmation();
  await gone.stop();
  await until(() => gone.ended, "the end");
  await append(stream, numbered(5));
  await stays.has(5);
  assert.equal(gone.error, undefined);
  assert.deepEqual(gone.events, []);
  await stays.stop();
});

await finish(server, client);
