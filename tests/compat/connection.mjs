/* Finding the server and being let in: connection strings, discovery by gossip, TLS, passwords, certificates
 * and tokens, access lists; and what a client is told when the server is gone or does not answer. */

import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { Client, HANGS_MS, Server, collect, db, fails, finish, follow, fresh, isKurrent, json, numbered, numbers, range, test,
  until } from "./lib.mjs";

const { ANY } = db;
const secret = "0123456789abcdef0123456789abcdef";
const keys = fs.mkdtempSync(path.join(os.tmpdir(), "stele-compat."));
process.on("exit", () => fs.rmSync(keys, { recursive: true, force: true }));
fs.writeFileSync(path.join(keys, "keys.json"), JSON.stringify({ keys: [
  { kty: "oct", kid: "k", alg: "HS256", k: Buffer.from(secret).toString("base64url") }] }), { mode: 0o600 });

const tls = await Server.start({ tls: true, args: ["--jwt-keys", path.join(keys, "keys.json"), "--login-failures-max", "1000"] });
const plain = await Server.start();
const admin = tls.client();

async function works(address) {
  const client = Client.connectionString(address);
  const stream = fresh("works");
  await client.appendToStream(stream, numbered(2));
  assert.deepEqual(numbers(await collect(client.readStream(stream))), [0, 1]);
  const followed = await follow(client.subscribeToStream(stream)).has(2);
  await followed.stop();
  await client.dispose();
}

/* ---- Connection strings ---- */

const protocols = ["esdb", ...(isKurrent ? ["kurrentdb", "kurrent", "kdb"] : [])];
for (const [name, server] of [["plain", plain], ["TLS", tls]]) {
  await test(`${name}: every protocol of connection strings, with and without discovery`, async () => {
    for (const protocol of protocols.flatMap((word) => [word, `${word}+discover`])) {
      await works(server.address({ protocol }));
    }
  });

  await test(`${name}: several hosts, of which one is there`, async () => {
    await works(server.address({ host: `localhost:1,localhost:${server.port}`, nodePreference: "leader" }));
  });

  await test(`${name}: options of connection strings do no harm`, async () => {
    await works(server.address({ connectionName: "a name", keepAliveInterval: 10000, keepAliveTimeout: 10000,
      defaultDeadline: 5000, maxDiscoverAttempts: 50, discoveryInterval: 100, gossipTimeout: 3000, nodePreference: "random",
      throwOnAppendFailure: "true" }));
  });
}

await test("gossip names one member, which leads, at the address that it is reached by", async () => {
  for (const nodePreference of ["leader", "follower", "random"]) {
    await works(tls.address({ protocol: `${protocols.at(-1)}+discover`, nodePreference }));
  }
});

await test("TLS: a server whose authority is not known is not talked to", async () => {
  const address = `${protocols.at(-1)}://admin:changeit@localhost:${tls.port}?defaultDeadline=3000`;
  const client = Client.connectionString(address);
  await assert.rejects(client.appendToStream(fresh(), json("x")), /certificate|UNAVAILABLE/i);
  await client.dispose();
});

await test("plain text is not answered by a server with TLS", async () => {
  const client = Client.connectionString(`${protocols.at(-1)}://localhost:${tls.port}?tls=false&defaultDeadline=3000`);
  await assert.rejects(client.appendToStream(fresh(), json("x")), /UNAVAILABLE/);
  await client.dispose();
});

/* ---- Users ---- */

/* Everything that needs a right, as the client, with credentials or not. */
const attempts = (client, stream, options) => ({
  append: () => client.appendToStream(stream, json("x"), options),
  read: () => collect(client.readStream(stream, options)),
  readAll: () => collect(client.readAll({ maxCount: 1, ...options })),
  subscribe: () => follow(client.subscribeToStream(stream, options)).failure(),
  subscribeToAll: () => follow(client.subscribeToAll(options)).failure(),
  delete: () => client.deleteStream(stream, options),
  tombstone: () => client.tombstoneStream(stream, options),
  metadata: () => client.setStreamMetadata(stream, {}, options),
  createGroup: () => client.createPersistentSubscriptionToStream(stream, "g", db.persistentSubscriptionToStreamSettingsFromDefaults(), options),
  listGroups: () => client.listAllPersistentSubscriptions(options),
  joinGroup: () => follow(client.subscribeToPersistentSubscriptionToStream(stream, "g", options)).failure(),
  projections: () => client.listProjections(options),
});

const stream = fresh("guarded");
await admin.appendToStream(stream, numbered(3));

await test("a wrong password is an AccessDeniedError, whatever is asked, by default or by call", async () => {
  const wrong = tls.client({ user: "admin:wrong" });
  for (const [client, options] of [[wrong, {}], [admin, { credentials: { username: "admin", password: "wrong" } }]]) {
    for (const attempt of Object.values(attempts(client, stream, options))) await fails(attempt(), "AccessDeniedError");
  }
  await wrong.dispose();
  assert.equal((await collect(admin.readStream(stream))).length, 3);
});

await test("without credentials nothing is allowed", async () => {
  const nobody = tls.client({ user: "" });
  for (const attempt of Object.values(attempts(nobody, stream, {}))) await fails(attempt(), "AccessDeniedError");
  await nobody.dispose();
});

await test("credentials of a call go before those of the connection", async () => {
  const nobody = tls.client({ user: "" });
  const credentials = { username: "ops", password: "changeit-too" };
  const name = fresh();
  await nobody.appendToStream(name, numbered(2), { credentials });
  assert.equal((await collect(nobody.readStream(name, { credentials }))).length, 2);
  const followed = await follow(nobody.subscribeToStream(name, { credentials })).has(2);
  await followed.stop();
  await fails(nobody.readStream(name), "AccessDeniedError");
  await nobody.dispose();
});

await test("a stream's access list decides who reads, writes, deletes, and sees and changes it", async () => {
  const ops = tls.client({ user: "ops:changeit-too" });
  const name = fresh();
  await ops.appendToStream(name, numbered(1));
  const set = (acl) => admin.setStreamMetadata(name, { acl });
  const onlyAdmin = { readRoles: ["admin"], writeRoles: ["admin"], deleteRoles: ["admin"], metaReadRoles: ["admin"], metaWriteRoles: ["admin"] };
  await set(onlyAdmin);
  const can = {
    readRoles: () => collect(ops.readStream(name)),
    writeRoles: () => ops.appendToStream(name, json("x")),
    metaReadRoles: () => ops.getStreamMetadata(name),
    metaWriteRoles: () => ops.setStreamMetadata(name, { acl: { ...onlyAdmin, metaWriteRoles: ["ops"] } }),
    deleteRoles: () => ops.deleteStream(name),
  };
  for (const attempt of Object.values(can)) await fails(attempt(), "AccessDeniedError");
  for (const [role, attempt] of Object.entries(can)) {
    await set({ ...onlyAdmin, [role]: ["ops"] });
    await attempt();
  }
  await ops.dispose();
});

await test("a subscriber who loses the right to read is told when more comes, and gets nothing of it", async () => {
  const ops = tls.client({ user: "ops:changeit-too" });
  const name = fresh();
  await admin.appendToStream(name, numbered(2));
  const followed = await follow(ops.subscribeToStream(name)).has(2);
  await admin.setStreamMetadata(name, { acl: { readRoles: ["admin"] } });
  /* Asking makes sure that the server has seen it. */
  await fails(ops.readStream(name), "AccessDeniedError");
  await admin.appendToStream(name, numbered(1, "secret", 2));
  await fails(followed.failure(), "AccessDeniedError");
  assert.equal(followed.events.length, 2);
  await ops.dispose();
});

await test("system streams and all events are for administrators", async () => {
  const ops = tls.client({ user: "ops:changeit-too" });
  for (const name of ["$users", "$user-admin"]) {
    assert.ok((await collect(admin.readStream(name))).length > 0);
    await fails(ops.readStream(name), "AccessDeniedError");
  }
  await fails(ops.readAll({ maxCount: 1 }), "AccessDeniedError");
  await fails(ops.appendToStream("$mine", json("x")), "AccessDeniedError");
  assert.equal((await collect(admin.readAll({ maxCount: 1 }))).length, 1);
  await ops.dispose();
});

await test("a certificate says who a client is", async () => {
  const client = tls.client({ user: "", userCertFile: tls.file("user.pem"), userKeyFile: tls.file("user.key") });
  await client.appendToStream(fresh(), json("x"));
  assert.equal((await collect(client.readAll({ maxCount: 1 }))).length, 1);
  await client.dispose();
});

if (isKurrent) {
  const token = (claims, key = secret) => {
    const encode = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
    const text = `${encode({ alg: "HS256", typ: "JWT", kid: "k" })}.${encode(claims)}`;
    return { credentials: { bearerToken: `${text}.${createHmac("sha256", key).update(text).digest("base64url")}` } };
  };
  const now = Math.floor(Date.now() / 1000);

  await test("bearer tokens: one that is right is let in, with its roles; any other is an AccessDeniedError", async () => {
    const nobody = tls.client({ user: "" });
    const right = token({ sub: "robot", exp: now + 600, roles: ["$admins"] });
    await nobody.appendToStream(fresh(), json("x"), right);
    assert.equal((await collect(nobody.readAll({ maxCount: 1, ...right }))).length, 1);
    const weak = token({ sub: "robot", exp: now + 600, roles: [] });
    await nobody.appendToStream(fresh(), json("x"), weak);
    await fails(nobody.readAll({ maxCount: 1, ...weak }), "AccessDeniedError");
    for (const wrong of [token({ sub: "robot", exp: now - 600 }), token({ sub: "robot", exp: now + 600 }, "other-secret"),
      { credentials: { bearerToken: "nonsense" } }]) {
      await fails(nobody.appendToStream(fresh(), json("x"), wrong), "AccessDeniedError");
      await fails(nobody.readStream(stream, wrong), "AccessDeniedError");
    }
    await nobody.dispose();
  });
}

/* ---- A server that is gone ---- */

await test("no server: UnavailableError; when it is back the same client goes on", async () => {
  const client = plain.client();
  const credentials = { credentials: { username: "admin", password: "changeit" } };
  const name = fresh();
  await client.appendToStream(name, numbered(1));
  await plain.stop();
  await fails(client.appendToStream(name, json("x"), credentials), "UnavailableError");
  await fails(client.deleteStream(name), "UnavailableError");
  await fails(client.listProjections(), "UnavailableError");
  await plain.launch();
  await until(() => client.appendToStream(name, json("counted", { n: 1 }), { expectedRevision: ANY }).then(() => true, () => false), "the server");
  await until(() => collect(client.readStream(name)).then(() => true, () => false), "reading");
  const events = await collect(client.readStream(name));
  assert.deepEqual([events[0], events.at(-1)].map(({ event }) => event.data.n), range(0, 2));
  await client.dispose();
});

await test("a subscription is told that the server ends: UnavailableError, or its end", async () => {
  const client = plain.client();
  const name = fresh();
  await client.appendToStream(name, numbered(2));
  const followed = await follow(client.subscribeToStream(name)).has(2);
  await plain.stop();
  await fails(followed.failure(), "UnavailableError");
  await plain.launch();
  await client.dispose();
});

await test("no answer in time is a DeadlineExceededError", async () => {
  const client = plain.client();
  await client.appendToStream(fresh(), json("x"));
  await client.listProjections();
  const deadline = { deadline: 200, credentials: { username: "admin", password: "changeit" } };
  plain.signal("SIGSTOP");
  try {
    await fails(client.appendToStream(fresh(), json("x"), deadline), "DeadlineExceededError");
    await fails(client.deleteStream(fresh(), deadline), "DeadlineExceededError");
    await fails(client.listProjections(deadline), "DeadlineExceededError");
  } finally {
    plain.signal("SIGCONT");
  }
  await client.appendToStream(fresh(), json("x"), { ...deadline, deadline: HANGS_MS });
  await client.dispose();
});

await plain.stop();
await finish(tls, admin);
