/* The server dies and hangs under load: every append ends as done or unknown, what was acknowledged is
 * there, exactly once when the unknown is repeated, and subscriptions that go on where they were skip and
 * repeat nothing.
 *
 * Method: writers with one append under way each, repeating with the same ids what they do not know the
 * outcome of, and subscribers that resume from the last event they saw, while the server is killed and
 * started again, stopped and continued. All of them live on clients that are never made anew. */

import assert from "node:assert/strict";
import { Server, collect, db, expect, finish, follow, json, numbers, range, test, until } from "./lib.mjs";

const { ANY, NO_STREAM, START } = db;
const ROUNDS = 3;
const server = await Server.start();
/* A server that hangs is noticed by pings. */
const client = server.client({ keepAliveInterval: 1000, keepAliveTimeout: 1000 });
const watcher = server.client({ keepAliveInterval: 1000, keepAliveTimeout: 1000 });
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
let over = false;
const outcomes = { done: 0, unknown: 0 };

/* Appends to one stream until it is over, a few events at a time; how: what expectation it has. Half of them
 * go through BatchAppend, half through Append. */
async function write(stream, isChecking, options) {
  const acknowledged = [];
  let n = 0;
  while (!over) {
    const count = 1 + (n % 3);
    const events = range(n, n + count).map((i) => json("outage", { n: i }));
    const state = !isChecking ? ANY : n === 0 ? NO_STREAM : BigInt(n - 1);
    for (let isDone = false; !isDone;) {
      try {
        const done = await client.appendToStream(stream, events, { ...expect(state), ...options });
        /* A repetition is answered as the first time was. */
        assert.equal(done.nextExpectedRevision, BigInt(n + count - 1));
        isDone = true;
        outcomes.done++;
      } catch (error) {
        assert.ok(error instanceof Error && !(error instanceof assert.AssertionError), error);
        assert.ok(!(error instanceof db.WrongExpectedVersionError), `${stream} ${n}: ${error}`);
        outcomes.unknown++;
        await pause(20);
      }
    }
    acknowledged.push(...range(n, n + count));
    n += count;
  }
  return acknowledged;
}

/* Follows until all that it was told to wait for has come; gives what it saw, and how often it resumed. */
function watch(subscribe, placeOf) {
  const seen = [];
  let resumed = -1;
  let followed;
  let isWanted = true;
  const loop = (async () => {
    while (isWanted) {
      resumed++;
      const mine = (followed = follow(subscribe(seen.length === 0 ? START : placeOf(seen.at(-1)))));
      await until(() => mine.ended || mine.error || !isWanted, "the end of a subscription");
      await mine.stop().catch(() => {});
      seen.push(...mine.events);
      await pause(20);
    }
  })();
  return {
    async stop(count) {
      await until(() => seen.length + (followed.ended ? 0 : followed.events.length) >= count, `${count} events`);
      isWanted = false;
      await loop;
      return { seen, resumed };
    },
  };
}

const CREDENTIALS = { credentials: { username: "admin", password: "changeit" }, deadline: 1500 };
const STREAMS = [["any-batch", false, {}], ["checked-batch", true, {}], ["any", false, CREDENTIALS], ["checked", true, CREDENTIALS]];
let written;
let watchers;

await test("every append ends as done or unknown while the server is killed, started, stopped and continued", async () => {
  const filter = db.eventTypeFilter({ prefixes: ["outage"] });
  watchers = [
    ...STREAMS.map(([stream]) =>
      watch((fromRevision) => watcher.subscribeToStream(stream, { fromRevision }), ({ event }) => event.revision)),
    watch((fromPosition) => watcher.subscribeToAll({ fromPosition, filter }), ({ event }) => event.position),
  ];
  const writers = Promise.all(STREAMS.map((how) => write(...how)));
  const more = async (count) => {
    const wanted = outcomes.done + count;
    await until(() => outcomes.done >= wanted, "appends");
  };
  for (let round = 0; round < ROUNDS; round++) {
    await more(60);
    await server.kill();
    await server.launch();
    await more(60);
    server.signal("SIGSTOP");
    /* Once shorter than anybody waits, then longer. */
    await pause(round === 0 ? 300 : 2600);
    server.signal("SIGCONT");
  }
  await more(60);
  over = true;
  written = await writers;
  assert.ok(outcomes.unknown >= ROUNDS, `${outcomes.unknown} were unknown`);
});

await test("what was acknowledged is there, exactly once, in order", async () => {
  const reader = server.client();
  for (const [i, [stream]] of STREAMS.entries()) {
    const events = await collect(reader.readStream(stream));
    assert.deepEqual(numbers(events), written[i], stream);
    assert.deepEqual(events.map(({ event }) => Number(event.revision)), written[i]);
  }
  await reader.dispose();
});

await test("subscriptions went on where they were: nothing skipped, nothing twice", async () => {
  const total = written.reduce((sum, { length }) => sum + length, 0);
  const reader = server.client();
  const stored = (await collect(reader.readAll())).filter(({ event }) => event.type === "outage");
  assert.equal(stored.length, total);
  const wanted = [...written.map(({ length }) => length), total];
  const results = await Promise.all(watchers.map((one, i) => one.stop(wanted[i])));
  for (const [i] of STREAMS.entries()) assert.deepEqual(numbers(results[i].seen), written[i]);
  assert.deepEqual(results.at(-1).seen.map(({ event }) => event.id), stored.map(({ event }) => event.id));
  for (const { resumed } of results) assert.ok(resumed >= ROUNDS, `${resumed} times resumed`);
  await reader.dispose();
});


await finish(server, client, watcher);
