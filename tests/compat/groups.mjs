/* Persistent subscriptions: managing groups of streams and of all events, the strategies that hand events
 * out, and what becomes of an event that is acknowledged, refused, parked, or not answered at all. */

import assert from "node:assert/strict";
import { Server, collect, db, fails, finish, follow, fresh, isKurrent, json, numbered, numbers, range, test, until } from "./lib.mjs";

const { START, END, PARK, RETRY, SKIP } = db;
const server = await Server.start();
const client = server.client({ connectionName: "tests" });
const ofStream = db.persistentSubscriptionToStreamSettingsFromDefaults;
const ofAll = db.persistentSubscriptionToAllSettingsFromDefaults;

/* The same operations on a group of a stream and on one of all events. */
const kinds = {
  stream: {
    source: "books",
    settings: ofStream,
    create: (group, changes = {}) => client.createPersistentSubscriptionToStream("books", group, ofStream(changes)),
    update: (group, changes = {}) => client.updatePersistentSubscriptionToStream("books", group, ofStream(changes)),
    remove: (group) => client.deletePersistentSubscriptionToStream("books", group),
    info: (group) => client.getPersistentSubscriptionToStreamInfo("books", group),
    list: () => client.listPersistentSubscriptionsToStream("books"),
    replay: (group, options) => client.replayParkedMessagesToStream("books", group, options),
    join: (group, options, onEvent) =>
      follow(client.subscribeToPersistentSubscriptionToStream("books", group, options), onEvent),
  },
  all: {
    source: "$all",
    settings: ofAll,
    create: (group, changes = {}, options = {}) => client.createPersistentSubscriptionToAll(group, ofAll(changes), options),
    update: (group, changes = {}) => client.updatePersistentSubscriptionToAll(group, ofAll(changes)),
    remove: (group) => client.deletePersistentSubscriptionToAll(group),
    info: (group) => client.getPersistentSubscriptionToAllInfo(group),
    list: () => client.listPersistentSubscriptionsToAll(),
    replay: (group, options) => client.replayParkedMessagesToAll(group, options),
    join: (group, options, onEvent) => follow(client.subscribeToPersistentSubscriptionToAll(group, options), onEvent),
  },
};

await client.appendToStream("books", numbered(5, "book"));

/* ---- Managing ---- */

for (const [kind, group] of Object.entries(kinds)) {
  /* Of a group that hands out nothing but books. */
  const BOOKS = kind === "all" ? { filter: db.eventTypeFilter({ prefixes: ["book"] }) } : {};

  await test(`${kind}: a group that is not there is a PersistentSubscriptionDoesNotExistError, whatever is asked`, async () => {
    const name = fresh("none");
    const fields = { streamName: group.source, groupName: name };
    for (const ask of ["update", "remove", "info", "replay"]) {
      await fails(group[ask](name), "PersistentSubscriptionDoesNotExistError", fields);
    }
    await fails(group.join(name).failure(), "PersistentSubscriptionDoesNotExistError", fields);
  });

  await test(`${kind}: a group is created, told of, updated and deleted`, async () => {
    const name = fresh("group");
    const settings = { messageTimeout: 1234, maxRetryCount: 7, checkPointAfter: 4321, checkPointLowerBound: 3,
      checkPointUpperBound: 1, maxSubscriberCount: 5, liveBufferSize: 100, readBatchSize: 10, historyBufferSize: 50,
      extraStatistics: true, resolveLinkTos: true, consumerStrategyName: db.PINNED };
    await group.create(name, settings);
    const info = await group.info(name);
    assert.equal(info.eventSource, group.source);
    assert.equal(info.groupName, name);
    assert.deepEqual(info.connections, []);
    const { stats } = info;
    assert.equal(stats.lastKnownEventRevision, undefined);
    assert.equal(stats.lastCheckpointedEventRevision ?? stats.lastCheckpointedEventPosition, undefined);
    assert.deepEqual(info.settings, group.settings({ ...settings, startFrom: info.settings.startFrom }));
    await fails(group.create(name), "PersistentSubscriptionExistsError", { streamName: group.source, groupName: name });
    await group.update(name, { startFrom: START, maxRetryCount: 8, consumerStrategyName: db.DISPATCH_TO_SINGLE });
    assert.deepEqual((await group.info(name)).settings,
      group.settings({ startFrom: START, maxRetryCount: 8, consumerStrategyName: db.DISPATCH_TO_SINGLE }));
    assert.ok((await group.list()).some(({ groupName, eventSource }) => groupName === name && eventSource === group.source));
    assert.ok((await client.listAllPersistentSubscriptions()).some(({ groupName }) => groupName === name));
    await group.remove(name);
    await fails(group.info(name), "PersistentSubscriptionDoesNotExistError");
    assert.ok(!(await client.listAllPersistentSubscriptions()).some(({ groupName }) => groupName === name));
  });

  await test(`${kind}: settings that contradict each other are a PersistentSubscriptionFailedError`, async () => {
    const wrong = { readBatchSize: 100, historyBufferSize: 50 };
    await fails(group.create(fresh("wrong"), wrong), "PersistentSubscriptionFailedError", { streamName: group.source });
  });

  await test(`${kind}: consumers are dropped with a PersistentSubscriptionDroppedError when their group changes or goes`, async () => {
    const name = fresh("group");
    const fields = { streamName: group.source, groupName: name };
    await group.create(name);
    const first = await group.join(name).confirmation();
    await group.update(name, { maxRetryCount: 3 });
    await fails(first.failure(), "PersistentSubscriptionDroppedError", fields);
    const second = await group.join(name).confirmation();
    await group.remove(name);
    await fails(second.failure(), "PersistentSubscriptionDroppedError", fields);
  });

  await test(`${kind}: one consumer too many is a PersistentSubscriptionMaximumSubscribersReachedError`, async () => {
    const name = fresh("group");
    await group.create(name, { maxSubscriberCount: 1 });
    const first = await group.join(name).confirmation();
    await fails(group.join(name).failure(), "PersistentSubscriptionMaximumSubscribersReachedError",
      { streamName: group.source, groupName: name });
    await first.stop();
    await until(async () => (await group.info(name)).connections.length === 0, "the first to be gone");
    await (await group.join(name).confirmation()).stop();
  });

  await test(`${kind}: statistics tell of consumers, and of what is under way, known and checkpointed`, async () => {
    const name = fresh("group");
    await group.create(name, { startFrom: START, checkPointLowerBound: 1, checkPointUpperBound: 1 },
      BOOKS);
    const consumer = await group.join(name, { bufferSize: 3 }).has(3);
    const busy = await until(async () => {
      const info = await group.info(name);
      return info.connections[0]?.inFlightMessages === 3 && info;
    }, "three under way");
    assert.equal(busy.connections.length, 1);
    assert.equal(busy.connections[0].connectionName, "tests");
    assert.equal(busy.connections[0].availableSlots, 0);
    assert.equal(busy.stats.totalInFlightMessages, 3);
    await consumer.subscription.ack(...consumer.events);
    await consumer.has(5);
    await consumer.subscription.ack(...consumer.events.slice(3));
    const quiet = await until(async () => {
      const { stats } = await group.info(name);
      const last = stats.lastCheckpointedEventRevision ?? stats.lastCheckpointedEventPosition?.commit;
      const { event } = consumer.events[4];
      /* A filter moves on over what does not fit. */
      return (kind === "all" ? last >= event.position.commit : last === event.revision) && stats;
    }, "the checkpoint");
    assert.equal(quiet.totalInFlightMessages, 0);
    assert.equal(quiet.totalItems, 5n);
    await consumer.stop();
  });

  /* ---- What becomes of events ---- */

  await test(`${kind}: acknowledged is done: the next consumer goes on behind it`, async () => {
    const name = fresh("group");
    await group.create(name, { startFrom: START, checkPointLowerBound: 1, checkPointUpperBound: 1 }, BOOKS);
    const first = await group.join(name, { bufferSize: 2 }).has(2);
    assert.deepEqual(numbers(first.events), [0, 1]);
    await first.subscription.ack(first.events[0]);
    await first.has(3);
    await first.stop();
    /* What was under way comes again, in order and with its count. */
    await until(async () => (await group.info(name)).connections.length === 0, "the first to be gone");
    const second = await group.join(name).has(4);
    assert.deepEqual(numbers(second.events), [1, 2, 3, 4]);
    assert.deepEqual(second.events.map(({ retryCount }) => retryCount), [1, 1, 0, 0]);
    await second.subscription.ack(...second.events);
    await second.stop();
  });

  await test(`${kind}: refused: retried with a count, skipped for good, or parked and replayed`, async () => {
    const name = fresh("group");
    await group.create(name, { startFrom: START }, BOOKS);
    const seen = [];
    const consumer = group.join(name, {}, (event) => {
      const { n } = event.event.data;
      const { subscription } = consumer;
      seen.push(`${n}:${event.retryCount}`);
      if (n === 1 && event.retryCount < 3) subscription.nack(RETRY, "again", event);
      else if (n === 2) subscription.nack(SKIP, "never mind", event);
      else if (n >= 3 && parking) subscription.nack(PARK, "too hard", event);
      else subscription.ack(event);
    });
    let parking = true;
    await until(async () => (await group.info(name)).stats.parkedMessageCount === 2n, "two parked events");
    await until(() => seen.filter((text) => text.startsWith("1:")).length === 4, "all retries");
    assert.deepEqual([...seen].sort(), ["0:0", "1:0", "1:1", "1:2", "1:3", "2:0", "3:0", "4:0"]);
    const parked = await collect(client.readStream(`$persistentsubscription-${group.source}::${name}-parked`, { resolveLinkTos: true }));
    assert.deepEqual(numbers(parked), [3, 4]);
    assert.match(parked[0].link.metadata.reason, /too hard/);
    seen.length = 0;
    parking = false;
    await group.replay(name, { stopAt: 1 });
    await until(() => seen.length === 1, "one replayed event");
    await group.replay(name);
    await until(() => seen.length === 2, "the other");
    assert.deepEqual(seen.map((text) => text[0]), ["3", "4"]);
    assert.equal((await group.info(name)).stats.parkedMessageCount, 0n);
    await consumer.stop();
  });

  await test(`${kind}: a group from the end, and one from a place in between`, async () => {
    const [late, between] = [fresh("late"), fresh("between")];
    const events = await collect(client.readStream("books"));
    const { revision, position } = events[3].event;
    await group.create(late, { startFrom: END });
    await group.create(between, { startFrom: kind === "all" ? position : revision });
    const consumers = [late, between].map((name) => {
      const consumer = group.join(name, {}, (event) => consumer.subscription.ack(event));
      return consumer;
    });
    const isBook = ({ event }) => event.streamId === "books";
    await consumers[1].until(({ events: found }) => found.filter(isBook).length >= events.length - 3);
    await client.appendToStream("books", numbered(1, "leaflet", events.length));
    await consumers[0].until(({ events: found }) => found.some(isBook));
    assert.deepEqual(numbers(consumers[0].events.filter(isBook)), [events.length]);
    await consumers[1].until(({ events: found }) => found.filter(isBook).length >= events.length - 2);
    assert.deepEqual(numbers(consumers[1].events.filter(isBook)), range(3, events.length + 1));
    for (const consumer of consumers) await consumer.stop();
  });
}

await test("no answer in time: the event comes again, and is parked when that has happened often enough", async () => {
  const [stream, name] = [fresh(), fresh("group")];
  await client.appendToStream(stream, numbered(1));
  await client.createPersistentSubscriptionToStream(stream, name, ofStream({ startFrom: START, messageTimeout: 100, maxRetryCount: 1 }));
  const consumer = follow(client.subscribeToPersistentSubscriptionToStream(stream, name));
  await consumer.has(2);
  assert.deepEqual(consumer.events.map(({ retryCount }) => retryCount), [0, 1]);
  const parked = `$persistentsubscription-${stream}::${name}-parked`;
  await until(async () => (await client.getPersistentSubscriptionToStreamInfo(stream, name)).stats.parkedMessageCount === 1n, parked);
  assert.equal(consumer.events.length, 2);
  await consumer.stop();
});

await test("lists: a stream without groups is a PersistentSubscriptionDoesNotExistError", async () => {
  await fails(client.listPersistentSubscriptionsToStream(fresh("lonely")), "PersistentSubscriptionDoesNotExistError");
  const all = await client.listAllPersistentSubscriptions();
  assert.deepEqual(new Set(all.map(({ eventSource }) => eventSource).filter((name) => /^(books|\$all)$/.test(name))), new Set(["books", "$all"]));
});

await test("all: every kind of filter decides what a group hands out", async () => {
  const prefix = fresh("farm");
  for (const name of ["ant", "bat"]) await client.appendToStream(`${prefix}-${name}`, numbered(2, `${prefix}.${name}`));
  const filters = [
    [db.eventTypeFilter({ prefixes: [`${prefix}.ant`] }), ["ant", "ant"]],
    [db.eventTypeFilter({ regex: `^${prefix}.*t$` }), ["ant", "ant", "bat", "bat"]],
    [db.streamNameFilter({ prefixes: [`${prefix}-b`, `${prefix}-c`] }), ["bat", "bat"]],
    [db.streamNameFilter({ regex: `${prefix}-(a|b)` }), ["ant", "ant", "bat", "bat"]],
  ];
  for (const [filter, wanted] of filters) {
    const name = fresh("group");
    await kinds.all.create(name, { startFrom: START }, { filter });
    const consumer = await kinds.all.join(name).has(wanted.length);
    await client.appendToStream("marks", json(`${prefix}.bat`));
    assert.deepEqual(consumer.events.slice(0, wanted.length).map(({ event }) => event.type), wanted.map((type) => `${prefix}.${type}`));
    await consumer.stop();
  }
});

await test("the subsystem is restarted, and groups go on", async () => {
  const name = fresh("group");
  await kinds.stream.create(name, { startFrom: START });
  const consumer = await kinds.stream.join(name).has(5);
  await client.restartPersistentSubscriptionSubsystem();
  await until(() => consumer.ended || consumer.error, "the consumer's end");
  const next = await kinds.stream.join(name).has(5);
  assert.deepEqual(numbers(next.events).slice(0, 5), range(0, 5));
  await next.stop();
});

/* ---- Strategies ---- */

/* Consumers of a group of all events whose streams begin with prefix; each acknowledges at once. */
async function crew(prefix, count, strategy, options = {}, acknowledge = true) {
  const name = fresh("crew");
  const filter = db.streamNameFilter({ prefixes: [prefix] });
  await kinds.all.create(name, { startFrom: START, consumerStrategyName: strategy }, { filter });
  const consumers = range(0, count).map(() => {
    const consumer = kinds.all.join(name, options, (event) => acknowledge && consumer.subscription.ack(event));
    return consumer;
  });
  for (const consumer of consumers) await consumer.confirmation();
  return consumers;
}

const total = (consumers) => consumers.reduce((sum, { events }) => sum + events.length, 0);
const disband = async (consumers) => {
  for (const consumer of consumers) await consumer.stop();
};

await test("RoundRobin hands out evenly", async () => {
  const prefix = fresh("round");
  const consumers = await crew(prefix, 3, db.ROUND_ROBIN);
  await client.appendToStream(prefix, numbered(30));
  await until(() => total(consumers) === 30, "all events");
  assert.deepEqual(consumers.map(({ events }) => events.length), [10, 10, 10]);
  await disband(consumers);
});

await test("DispatchToSingle hands out to one, until that has its hands full", async () => {
  const prefix = fresh("single");
  const consumers = await crew(prefix, 2, db.DISPATCH_TO_SINGLE, { bufferSize: 8 }, false);
  await client.appendToStream(prefix, numbered(12));
  await until(() => total(consumers) === 12, "all events");
  assert.deepEqual(consumers.map(({ events }) => events.length).sort(), [4, 8]);
  const full = consumers.find(({ events }) => events.length === 8);
  assert.deepEqual(numbers(full.events), range(0, 8));
  await disband(consumers);
});

await test("Pinned: a stream's events all go to one consumer, in order", async () => {
  const prefix = fresh("pin");
  const consumers = await crew(prefix, 3, db.PINNED, { bufferSize: 4 });
  const streams = range(0, 12).map((i) => `${prefix}-${i}`);
  await Promise.all(streams.map(async (stream) => {
    for (let n = 0; n < 20; n += 5) await client.appendToStream(stream, numbered(5, "pinned", n));
  }));
  await until(() => total(consumers) === 240, "all events");
  const owners = new Set();
  for (const stream of streams) {
    const parts = consumers.map(({ events }) => numbers(events.filter(({ event }) => event.streamId === stream)));
    const owner = parts.findIndex((part) => part.length > 0);
    assert.deepEqual(parts[owner], range(0, 20));
    assert.equal(parts.flat().length, 20);
    owners.add(owner);
  }
  assert.ok(owners.size > 1, "more than one has something to do");
  await disband(consumers);
});

if (isKurrent) await test("PinnedByCorrelation: events of one $correlationId all go to one consumer, in order", async () => {
  const prefix = fresh("correlated");
  const consumers = await crew(prefix, 3, db.PINNED_BY_CORRELATION, { bufferSize: 4 });
  const given = range(0, 200).map((n) => json("correlated", { n }, { metadata: { $correlationId: `c-${n % 10}` } }));
  for (let i = 0; i < 200; i += 50) await client.appendToStream(`${prefix}-${i}`, given.slice(i, i + 50));
  await until(() => total(consumers) === 200, "all events");
  const owners = new Set();
  for (const c of range(0, 10)) {
    const parts = consumers.map(({ events }) => numbers(events.filter(({ event }) => event.metadata.$correlationId === `c-${c}`)));
    const owner = parts.findIndex((part) => part.length > 0);
    assert.deepEqual(parts[owner], range(0, 20).map((i) => 10 * i + c));
    owners.add(owner);
  }
  assert.ok(owners.size > 1, "more than one has something to do");
  await disband(consumers);
});

await test("links: a group on a category gets the events, acknowledges the links, and checkpoints them", async () => {
  const category = fresh("cat").replace("-", "");
  for (const i of range(0, 3)) await client.appendToStream(`${category}-${i}`, numbered(2));
  const [stream, name] = [`$ce-${category}`, fresh("group")];
  await client.createPersistentSubscriptionToStream(stream, name,
    ofStream({ startFrom: START, resolveLinkTos: true, checkPointLowerBound: 1, checkPointUpperBound: 1 }));
  const consumer = follow(client.subscribeToPersistentSubscriptionToStream(stream, name));
  await consumer.has(6);
  assert.deepEqual(consumer.events.map(({ event, link }) => [event.streamId, event.data.n, link.streamId, Number(link.revision)]),
    range(0, 6).map((i) => [`${category}-${i >> 1}`, i % 2, stream, i]));
  await consumer.subscription.ack(...consumer.events);
  await until(async () => {
    const { stats } = await client.getPersistentSubscriptionToStreamInfo(stream, name);
    return stats.lastCheckpointedEventRevision === 5n;
  }, "the checkpoint of the last link");
  await consumer.stop();
});

await test("parked events and checkpoints outlive the server", async () => {
  const name = fresh("group");
  await kinds.stream.create(name, { startFrom: START, checkPointLowerBound: 1, checkPointUpperBound: 1 });
  const consumer = await kinds.stream.join(name).has(5);
  await consumer.subscription.nack(PARK, "later", consumer.events[0]);
  await consumer.subscription.ack(consumer.events[1]);
  await until(async () => {
    const { stats } = await kinds.stream.info(name);
    return stats.parkedMessageCount === 1n && stats.lastCheckpointedEventRevision === 1n;
  }, "both are stored");
  consumer.subscription.on("error", () => {});
  await server.kill();
  await server.launch();
  const again = server.client();
  await until(() => collect(again.readStream("books")).then(() => true, () => false), "the server");
  const ask = () => again.getPersistentSubscriptionToStreamInfo("books", name);
  assert.equal((await ask()).stats.parkedMessageCount, 1n);
  const next = follow(again.subscribeToPersistentSubscriptionToStream("books", name));
  await next.has(3);
  assert.deepEqual(numbers(next.events).slice(0, 3), [2, 3, 4]);
  await again.replayParkedMessagesToStream("books", name);
  await next.until(({ events }) => events.some(({ event }) => event.data.n === 0));
  await next.stop();
  await again.dispose();
});

await finish(server, client);
