/* Nodes of a cluster are killed, stand still and are cut off from each other, and the official client goes on: appends
 * end as done or unknown, what was acknowledged is there exactly once, subscriptions skip and repeat nothing, groups
 * leave nothing out.
 *
 * Method: three processes that speak to each other through tests/cluster/relay.py. Writers, subscribers and a consumer
 * (history.mjs) on clients that live through all of it. Each disturbance lasts until so many appends have succeeded,
 * if a majority is left, and for a while in any case.
 *
 * STELE_CLUSTER_ROUNDS=100 for a long run, STELE_CLUSTER_PAUSE=30 seconds in which a node stands still;
 * COMPAT_HANGS_MS=3600000 gives it the time. */

import assert from "node:assert/strict";
import { Cluster, HANGS_MS, collect, db, numbers, range, test, until } from "./lib.mjs";
import { History, Watcher, consume, patiently, pause } from "./history.mjs";

const ROUNDS = Number(process.env.STELE_CLUSTER_ROUNDS ?? 4);
const PAUSE_MS = 1000 * Number(process.env.STELE_CLUSTER_PAUSE ?? 2.5);
const cluster = await Cluster.start(3, { relayed: true });
const clients = [];
const client = (options) => {
  const made = cluster.client({ keepAliveInterval: 1000, keepAliveTimeout: 1000, ...options });
  clients.push(made);
  return made;
};
const history = new History();
const number = (node) => cluster.nodes.indexOf(node) + 1;

/* Each begins something and gives what ends it. The node is the leader, or a follower. */
const FAULTS = {
  kill: async (node) => {
    await node.kill();
    return () => node.launch();
  },
  pause: async (node) => {
    node.signal("SIGSTOP");
    return async () => {
      await pause(PAUSE_MS);
      node.signal("SIGCONT");
    };
  },
  cut: async (node) => {
    await cluster.relay(`cut ${number(node)} *`);
    return () => cluster.relay("heal");
  },
  /* It hears the others, who do not hear it. */
  mute: async (node) => {
    await cluster.relay(`oneway ${number(node)} *`);
    return () => cluster.relay("heal");
  },
  slow: async (node) => {
    await cluster.relay(`delay ${number(node)} * 50 20`);
    return () => cluster.relay("calm");
  },
  reset: async (node) => {
    await cluster.relay(`reset ${number(node)} *`);
    return () => {};
  },
  killAll: async () => {
    await Promise.all(cluster.nodes.map((node) => node.kill()));
    return () => Promise.all(cluster.nodes.map((node) => node.launch()));
  },
};
/* Of who leads, and then of who does not. */
const ORDER = ["kill", "cut", "pause", "killAll", "mute", "reset", "slow"];
const CREDENTIALS = { credentials: { username: "admin", password: "changeit" }, deadline: 2000 };
const STREAMS = [
  ["any-leader", false, { deadline: 3000 }, {}],
  ["checked-leader", true, CREDENTIALS, {}],
  ["checked-follower", true, { requiresLeader: false, deadline: 3000 }, { nodePreference: "follower" }],
  ["checked-random", true, { requiresLeader: false, ...CREDENTIALS }, { nodePreference: "random" }],
];
const filter = db.eventTypeFilter({ prefixes: ["outage"] });
let written;
let watchers;
let consumed;

await test("nodes are killed, stand still and are cut off: every append ends as done or unknown", async () => {
  const subscribers = ["leader", "follower", "random"].map((nodePreference) => client({ nodePreference }));
  watchers = [
    ...STREAMS.map(([stream], i) =>
      new Watcher((fromRevision) => subscribers[i % 3].subscribeToStream(stream, { fromRevision }),
        ({ event }) => event.revision)),
    ...subscribers.map((one) =>
      new Watcher((fromPosition) => one.subscribeToAll({ fromPosition, filter }), ({ event }) => event.position)),
  ];
  const writers = Promise.all(STREAMS.map(([stream, isChecking, options, preference]) =>
    history.write(client(preference), stream, isChecking, options)));
  consumed = consume(client(), STREAMS[0][0], "g", (seen) =>
    history.over && written && written[0].every((n) => seen.has(n)));
  for (let round = 0; round < ROUNDS; round++) {
    const name = ORDER[round % ORDER.length];
    const leader = await cluster.leader();
    const isLeader = Math.floor(round / ORDER.length) % 2 === 0;
    const node = isLeader ? leader : cluster.nodes.find((one) => one !== leader);
    await history.more(40);
    const end = await FAULTS[name](node);
    if (name !== "killAll") await history.more(20);
    await end();
    await history.more(20);
  }
  for (const node of cluster.nodes) await until(() => cluster.isReady(node), "a node to be ready again");
  history.over = true;
  written = await writers;
  console.log(`# ${ROUNDS} rounds: ${history.outcomes.done} appends of ${written.flat().length} events, ` +
    `${history.outcomes.unknown} unknown and repeated`);
});

await test("what was acknowledged is there, exactly once, in order, on every node", async () => {
  for (const [i, [stream]] of STREAMS.entries()) {
    const events = await patiently(() => collect(client().readStream(stream)));
    assert.deepEqual(numbers(events), range(0, written[i].length), stream);
    assert.deepEqual(events.map(({ event }) => Number(event.revision)), written[i]);
  }
  const stored = [];
  for (const node of cluster.nodes) {
    const one = cluster.single(node, { nodePreference: "random" });
    stored.push(await until(async () => {
      const all = (await collect(one.readAll({ requiresLeader: false }))).filter(({ event }) => event.type === "outage");
      return all.length === written.flat().length &&
        all.map(({ event }) => [event.id, event.position.commit, event.streamId, event.revision]);
    }, "all events on a node"));
    await one.dispose();
  }
  assert.deepEqual(stored[1], stored[0]);
  assert.deepEqual(stored[2], stored[0]);
});

await test("subscriptions went on where they were: nothing skipped, nothing twice", async () => {
  const stored = (await collect(client().readAll())).filter(({ event }) => event.type === "outage");
  for (const [i] of STREAMS.entries()) {
    assert.deepEqual(numbers(await watchers[i].stop(written[i].length)), written[i]);
  }
  for (const watcher of watchers.slice(STREAMS.length)) {
    const all = await watcher.stop(written.flat().length);
    assert.deepEqual(all.map(({ event }) => event.id), stored.map(({ event }) => event.id));
  }
  const resumed = watchers.map((one) => one.resumed);
  console.log(`# subscriptions resumed ${resumed.join(", ")} times`);
  assert.ok(ROUNDS < 4 || resumed.every((times) => times > 0), "somebody did not have to resume");
});

await test("the group left nothing out", async () => {
  const { seen, joined } = await consumed;
  assert.deepEqual([...seen.keys()].sort((a, b) => a - b), written[0]);
  const twice = [...seen.values()].filter((times) => times > 1).length;
  console.log(`# of ${seen.size} events the group repeated ${twice}; its consumer joined ${joined} times`);
});

for (const one of clients.splice(0)) await one.dispose();
await cluster.stop();
setTimeout(() => process.exit(1), HANGS_MS).unref();
