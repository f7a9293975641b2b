/* A cluster of three nodes and the official clients: they find the nodes by gossip and choose by what they prefer,
 * are led to the leader by what is refused elsewhere, and go on when the leader dies: appends end as done or unknown,
 * what was acknowledged is there exactly once, subscriptions skip and repeat nothing, groups leave nothing out.
 *
 * Method: three processes on this machine. Writers repeat with the same ids what they do not know the outcome of;
 * subscribers resume behind the last event that they saw. */

import assert from "node:assert/strict";
import { Cluster, HANGS_MS, collect, db, expect, fails, isKurrent, json, numbers, range, test, until } from "./lib.mjs";
import { History, Watcher, consume, patiently } from "./history.mjs";

const { ANY } = db;
const cluster = await Cluster.start(3);
const clients = [];
const client = (options) => {
  const made = cluster.client({ keepAliveInterval: 1000, keepAliveTimeout: 1000, ...options });
  clients.push(made);
  return made;
};

const disposeAll = async () => {
  for (const one of clients.splice(0)) await one.dispose();
};

await test("every node tells of the same three members, of which one leads", async () => {
  for (const node of cluster.nodes) {
    const { members, serverPort } = await cluster.gossip(node);
    assert.equal(serverPort, node.port);
    assert.deepEqual(members.map((one) => one.httpEndPointPort), cluster.nodes.map(({ port }) => port));
    assert.deepEqual(members.map((one) => one.state).sort(), ["Follower", "Follower", "Leader"]);
    assert.ok(members.every((one) => one.isAlive));
    assert.equal(new Set(members.map((one) => one.instanceId)).size, 3);
  }
});

await test("what is appended through any node is read through every node by who prefers the leader", async () => {
  for (const [i, node] of cluster.nodes.entries()) {
    const writer = client({ host: node, nodePreference: "random" });
    const events = [json("through", { n: i })];
    /* A client of one address prefers the leader, too, and goes there when it is told to. */
    await patiently(() => writer.appendToStream("through", events, { requiresLeader: false, ...expect(ANY) }));
    const reader = client();
    assert.deepEqual(numbers(await collect(reader.readStream("through"))), range(0, i + 1));
  }
});

await test("over HTTP what one node has acknowledged is read at once through the others, if that is asked for", async () => {
  for (const [i, node] of cluster.nodes.entries()) {
    const url = (one, query) => `http://localhost:${one.port}/api/streams/http?${query}`;
    /* Events without ids: the node that is asked makes them. */
    const body = JSON.stringify([{ type: "e", data: { n: i } }]);
    const posted = await fetch(url(node, ""), { method: "POST", headers: { "content-type": "application/json" }, body });
    assert.equal(posted.status, 201, await posted.text());
    for (const other of cluster.nodes) {
      const { events } = await (await fetch(url(other, "linearizable=true"))).json();
      assert.deepEqual(events.map(({ data }) => data.n), range(0, i + 1));
    }
  }
});

await test("followers refuse what requires the leader and say where it is", async () => {
  const leader = await cluster.leader();
  for (const node of cluster.nodes.filter((one) => one !== leader)) {
    const one = cluster.single(node);
    const wanted = { leader: { address: "localhost", port: leader.port } };
    const credentials = { credentials: { username: "admin", password: "changeit" } };
    /* With credentials it is Append, without it is BatchAppend. */
    for (const options of [{}, credentials]) {
      const alone = cluster.single(node);
      await fails(alone.appendToStream("refused", json("e"), { requiresLeader: true, ...options }), "NotLeaderError",
        wanted);
      await alone.dispose();
    }
    await fails(one.createPersistentSubscriptionToStream("refused", "g",
      db.persistentSubscriptionToStreamSettingsFromDefaults()), "NotLeaderError", wanted);
    /* It has gone there by itself. */
    await one.createPersistentSubscriptionToStream("refused", "g",
      db.persistentSubscriptionToStreamSettingsFromDefaults());
    await one.deletePersistentSubscriptionToStream("refused", "g");
    await one.dispose();
  }
});

await test("who prefers a follower reads from one, and what it appends is there", async () => {
  const reader = client({ nodePreference: "follower" });
  const events = range(0, 10).map((n) => json("follower", { n }));
  await patiently(() => reader.appendToStream("follower", events, { requiresLeader: false, ...expect(ANY) }));
  await until(async () => numbers(await collect(reader.readStream("follower"))).length === 10, "ten events");
});

/* Those so far have done their part; see STREAMS. */
await disposeAll();

/* ---- The leader dies ---- */

const history = new History();
const CREDENTIALS = { credentials: { username: "admin", password: "changeit" }, deadline: 2000 };
const STREAMS = [
  ["any-leader", false, {}, {}],
  ["checked-leader", true, CREDENTIALS, {}],
  /* The older client has one list of batches under way for all clients of a process, and loses its way in it when one
   * of several loses its connection. */
  ["checked-follower", true, { requiresLeader: false, ...(isKurrent ? {} : CREDENTIALS) }, { nodePreference: "follower" }],
  ["checked-random", true, { requiresLeader: false, ...CREDENTIALS }, { nodePreference: "random" }],
];
const ROUNDS = 2;
let written;
let watchers;
let consumed;

await test("the leader is killed under load, and comes back: every append ends as done or unknown", async () => {
  const filter = db.eventTypeFilter({ prefixes: ["outage"] });
  const watcher = client();
  const follower = client({ nodePreference: "follower" });
  watchers = [
    ...STREAMS.map(([stream], i) =>
      new Watcher((fromRevision) => (i % 2 ? watcher : follower).subscribeToStream(stream, { fromRevision }),
        ({ event }) => event.revision)),
    new Watcher((fromPosition) => watcher.subscribeToAll({ fromPosition, filter }), ({ event }) => event.position),
  ];
  const writers = Promise.all(STREAMS.map(([stream, isChecking, options, preference]) =>
    history.write(client(preference), stream, isChecking, options)));
  consumed = consume(client(), STREAMS[0][0], "g", (seen) =>
    history.over && written && written[0].every((n) => seen.has(n)));
  for (let round = 0; round < ROUNDS; round++) {
    await history.more(60);
    const leader = await cluster.leader();
    await leader.kill();
    await history.more(60);
    const next = await cluster.leader();
    assert.notEqual(next, leader);
    await leader.launch();
    await history.more(60);
  }
  history.over = true;
  written = await writers;
});

await test("what was acknowledged is there, exactly once, in order, on every node", async () => {
  for (const [i, [stream]] of STREAMS.entries()) {
    const events = await patiently(() => collect(client().readStream(stream)));
    assert.deepEqual(numbers(events), written[i], stream);
    assert.deepEqual(events.map(({ event }) => Number(event.revision)), written[i]);
  }
  const last = [];
  for (const node of cluster.nodes) {
    const one = cluster.single(node, { nodePreference: "random" });
    const stored = await until(async () => {
      const all = (await collect(one.readAll({ requiresLeader: false }))).filter(({ event }) => event.type === "outage");
      return all.length === written.flat().length && all;
    }, "all events on a node");
    last.push(stored.map(({ event }) => [event.id, event.position.commit, event.streamId, event.revision]));
    await one.dispose();
  }
  assert.deepEqual(last[1], last[0]);
  assert.deepEqual(last[2], last[0]);
});

await test("subscriptions went on where they were: nothing skipped, nothing twice", async () => {
  for (const [i] of STREAMS.entries()) {
    assert.deepEqual(numbers(await watchers[i].stop(written[i].length)), written[i]);
  }
  const all = await watchers.at(-1).stop(written.flat().length);
  const stored = (await collect(client().readAll())).filter(({ event }) => event.type === "outage");
  assert.deepEqual(all.map(({ event }) => event.id), stored.map(({ event }) => event.id));
  assert.ok(watchers.some(({ resumed }) => resumed > 0), "nobody had to resume");
});

await test("the group left nothing out, and its consumer was led to each leader", async () => {
  const { seen, joined } = await consumed;
  assert.deepEqual([...seen.keys()].sort((a, b) => a - b), written[0]);
  assert.ok(joined > ROUNDS, `joined ${joined} times`);
});

await test("without a majority nothing is acknowledged, reads go on, and with it everything does", async () => {
  const [a, b, c] = cluster.nodes;
  await b.kill();
  await c.kill();
  await until(async () => !(await cluster.isReady(a)), "it to be ready no more");
  await until(async () => (await cluster.gossip(a)).members.every((one) => one.state !== "Leader"), "no leader");
  const lonely = cluster.single(a, { nodePreference: "random" });
  await fails(lonely.appendToStream("lonely", json("e"), { requiresLeader: true, deadline: HANGS_MS }),
    "UnavailableError");
  assert.deepEqual(numbers(await collect(lonely.readStream("through", { requiresLeader: false }))), range(0, 3));
  await lonely.dispose();
  await b.launch();
  await c.launch();
  const writer = client();
  await patiently(() => writer.appendToStream("together", json("e"), { deadline: 10_000 }));
  for (const node of cluster.nodes) await until(() => cluster.isReady(node), "a node to be ready again");
});

await disposeAll();
await cluster.stop();
setTimeout(() => process.exit(1), HANGS_MS).unref();
