/* System projections: managed as on KurrentDB, and their streams, which nothing has to write. */

import assert from "node:assert/strict";
import { Server, collect, db, fails, finish, follow, fresh, json, numbered, test } from "./lib.mjs";

const { START, END } = db;
const server = await Server.start();
const client = server.client();
const NAMES = ["$by_category", "$by_correlation_id", "$by_event_type", "$stream_by_category", "$streams"];
const links = async (stream, options = {}) =>
  (await collect(client.readStream(stream, { resolveLinkTos: true, ...options })))
    .map(({ event, link }) => `${link.revision}: ${event.revision}@${event.streamId}`);

await test("the system projections are listed, and run", async () => {
  const projections = await client.listProjections();
  assert.deepEqual(projections.map(({ name }) => name).sort(), NAMES);
  for (const projection of projections) {
    assert.equal(projection.projectionStatus, db.RUNNING);
    assert.equal(projection.effectiveName, projection.name);
    assert.equal(projection.progress, 100);
    assert.deepEqual(await client.getProjectionStatus(projection.name), projection);
  }
});

await test("a system projection is disabled, aborted, enabled and reset, and its status says so", async () => {
  const status = async () => (await client.getProjectionStatus("$by_category")).projectionStatus;
  await client.disableProjection("$by_category");
  assert.match(await status(), /Stopped/);
  await client.enableProjection("$by_category");
  assert.equal(await status(), db.RUNNING);
  await client.abortProjection("$by_category");
  assert.match(await status(), /Aborted|Stopped/);
  await client.enableProjection("$by_category");
  await client.resetProjection("$by_category");
  assert.equal(await status(), db.RUNNING);
  await client.restartSubsystem();
  assert.equal(await status(), db.RUNNING);
});

await test("what is asked about a projection that is not there is a NotFoundError", async () => {
  for (const ask of ["disableProjection", "abortProjection", "enableProjection", "resetProjection", "deleteProjection",
    "getProjectionState", "getProjectionResult"]) {
    await fails(client[ask]("none"), "NotFoundError");
  }
  await fails(client.updateProjection("none", "fromAll()"), "NotFoundError");
});

await test("JavaScript of users is refused: UNIMPLEMENTED, and words that say why", async () => {
  const error = await fails(client.createProjection("mine", "fromAll().when({})"), "UnknownError", { code: 12 });
  assert.match(error.message, /Projections written by users are not supported/);
  assert.deepEqual((await client.listProjections()).map(({ name }) => name).sort(), NAMES);
});

await test("a category's stream has its events in order, whenever they came, resolved or not", async () => {
  const category = fresh("ship").replace("-", "");
  await client.appendToStream(`${category}-1`, numbered(2, "sailed"));
  await client.appendToStream(`${category}-2`, numbered(1, "sank"));
  await client.appendToStream(`${category}-1`, numbered(1, "docked"));
  await client.appendToStream("other-1", numbered(1, "sailed"));
  const stream = `$ce-${category}`;
  const all = [`0: 0@${category}-1`, `1: 1@${category}-1`, `2: 0@${category}-2`, `3: 2@${category}-1`];
  assert.deepEqual(await links(stream), all);
  assert.deepEqual(await links(stream, { fromRevision: 1n, maxCount: 2 }), all.slice(1, 3));
  assert.deepEqual(await links(stream, { direction: db.BACKWARDS, fromRevision: END, maxCount: 3 }), all.slice(1).reverse());
  const [{ event, link }] = await collect(client.readStream(stream, { maxCount: 1 }));
  assert.equal(link, undefined);
  assert.deepEqual([event.type, event.streamId, String(Buffer.from(event.data))], ["$>", stream, `0@${category}-1`]);
  await fails(client.readStream(`${stream}-none`), "StreamNotFoundError");
});

await test("a type's stream, correlations, and the lists of streams", async () => {
  const type = fresh("Planted");
  const id = fresh("story");
  const [oak, elm] = [fresh("tree"), fresh("tree")];
  await client.appendToStream(oak, json(type, {}, { metadata: { $correlationId: id } }));
  await client.appendToStream(elm, [json("Watered"), json(type, {}, { metadata: { $correlationId: id } })]);
  assert.deepEqual(await links(`$et-${type}`), [`0: 0@${oak}`, `1: 1@${elm}`]);
  assert.deepEqual(await links(`$bc-${id}`), [`0: 0@${oak}`, `1: 1@${elm}`]);
  const streams = (await links("$streams")).map((text) => text.split("@")[1]);
  assert.ok(streams.includes(oak) && streams.includes(elm));
  assert.equal(new Set(streams).size, streams.length);
  const category = (await collect(client.readStream("$category-tree"))).map(({ event }) => String(Buffer.from(event.data)));
  assert.deepEqual(category.slice(-2).map((text) => text.split("@").at(-1)), [oak, elm]);
});

await test("a category is followed: what is there, then what comes", async () => {
  const category = fresh("bird").replace("-", "");
  await client.appendToStream(`${category}-1`, numbered(2));
  const followed = follow(client.subscribeToStream(`$ce-${category}`, { fromRevision: START, resolveLinkTos: true }));
  await followed.has(2);
  await client.appendToStream(`${category}-2`, numbered(2));
  await client.appendToStream("unrelated", numbered(1));
  await client.appendToStream(`${category}-1`, numbered(1, "counted", 2));
  await followed.has(5);
  assert.deepEqual(followed.events.map(({ event, link }) => `${link.revision}: ${event.data.n}@${event.streamId}`),
    [`0: 0@${category}-1`, `1: 1@${category}-1`, `2: 0@${category}-2`, `3: 1@${category}-2`, `4: 2@${category}-1`]);
  await followed.stop();
});

await finish(server, client);
