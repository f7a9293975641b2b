/* Writers, subscribers and consumers that go on whatever happens to the nodes of a cluster, and remember what they
 * were told.
 *
 * Writers repeat with the same ids what they do not know the outcome of; subscribers resume behind the last event that
 * they saw; consumers join their group again. All live on clients that are never made anew. */

import assert from "node:assert/strict";
import { Followed, db, expect, follow, json, range, until } from "./lib.mjs";

const { ANY, NO_STREAM, START } = db;
export const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/* Until it succeeds: what fails while nobody leads is tried again. */
export const patiently = (action) =>
  until(async () => {
    try {
      return { value: await action() };
    } catch (error) {
      if (error instanceof assert.AssertionError) throw error;
      return false;
    }
  }, `success of ${action}`).then(({ value }) => value);

export class History {
  over = false;
  outcomes = { done: 0, unknown: 0 };

  /* Appends to one stream until it is over, a few events at a time. Gives what was acknowledged. */
  async write(writer, stream, isChecking, options) {
    const acknowledged = [];
    let n = 0;
    while (!this.over) {
      const count = 1 + (n % 3);
      const events = range(n, n + count).map((i) => json("outage", { n: i }));
      const state = !isChecking ? ANY : n === 0 ? NO_STREAM : BigInt(n - 1);
      for (let isDone = false; !isDone;) {
        try {
          const done = await writer.appendToStream(stream, events, { ...expect(state), ...options });
          assert.equal(done.nextExpectedRevision, BigInt(n + count - 1));
          isDone = true;
          this.outcomes.done++;
        } catch (error) {
          assert.ok(error instanceof Error && !(error instanceof assert.AssertionError), error);
          assert.ok(!(error instanceof db.WrongExpectedVersionError), `${stream} ${n}: ${error}`);
          this.outcomes.unknown++;
          await pause(20);
        }
      }
      acknowledged.push(...range(n, n + count));
      n += count;
    }
    return acknowledged;
  }

  /* So many more appends succeed. */
  async more(count) {
    const wanted = this.outcomes.done + count;
    await until(() => this.outcomes.done >= wanted, "appends");
  }
}

/* Follows for ever, resuming behind the last event seen; the place of one is what resuming takes. */
export class Watcher {
  seen = [];
  resumed = -1;
  isWanted = true;

  constructor(subscribe, placeOf) {
    this.loop = (async () => {
      while (this.isWanted) {
        this.resumed++;
        const mine = new Followed(subscribe(this.seen.length === 0 ? START : placeOf(this.seen.at(-1))));
        this.current = mine;
        while (!mine.ended && !mine.error && this.isWanted) await pause(10);
        await mine.stop().catch(() => {});
        this.seen.push(...mine.events);
        this.current = undefined;
        await pause(20);
      }
    })();
  }

  async stop(count) {
    await until(() => this.seen.length + (this.current?.events.length ?? 0) >= count, `${count} events`);
    this.isWanted = false;
    await this.loop;
    return this.seen;
  }
}

/* Consumes from a group of a stream until isComplete(how often each event was seen), joining again whenever it ends. */
export async function consume(consumer, stream, group, isComplete) {
  const settings = db.persistentSubscriptionToStreamSettingsFromDefaults({ startFrom: START, checkPointAfter: 200,
    checkPointLowerBound: 1, checkPointUpperBound: 50 });
  await patiently(() => consumer.createPersistentSubscriptionToStream(stream, group, settings)
    .catch((error) => assert.ok(error instanceof db.PersistentSubscriptionExistsError, error) ?? true));
  const seen = new Map();
  let joined = 0;
  while (!isComplete(seen)) {
    const subscription = consumer.subscribeToPersistentSubscriptionToStream(stream, group);
    const mine = follow(subscription, (event) => {
      const { n } = event.event.data;
      seen.set(n, (seen.get(n) ?? 0) + 1);
      subscription.ack(event).catch(() => {});
    });
    while (!mine.ended && !mine.error && !isComplete(seen)) await pause(10);
    joined += mine.confirmed ? 1 : 0;
    await mine.stop().catch(() => {});
    await pause(20);
  }
  return { seen, joined };
}
