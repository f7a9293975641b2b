/* What the tests of the official clients share: the client under test, a server of its own for every
 * file, claims about errors, and following a subscription without sleeping.
 *
 * Both clients run the same files. Where their words differ (KurrentDB's client has renamed what
 * EventStoreDB's calls expectedRevision) this file translates; what only the newer one has is tested
 * where isKurrent is true. */

import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import fs from "node:fs";
import { createRequire } from "node:module";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { test as nodeTest } from "node:test";
import { fileURLToPath } from "node:url";

const binary = process.env.COMPAT_STELE;
export const db = createRequire(process.env.COMPAT_MODULES + "/")(process.env.COMPAT_CLIENT);
export const isKurrent = "KurrentDBClient" in db;
export const Client = isKurrent ? db.KurrentDBClient : db.EventStoreDBClient;
export const scheme = isKurrent ? "kurrentdb" : "esdb";

/* The search for leaks looks at the process from outside, which the sandbox does not allow. */
const isSanitized = ["__asan_init", "__tsan_init"].some((name) => fs.readFileSync(binary).includes(name));
/* Nothing takes that long unless it hangs, on a busy machine and under a sanitizer, too. */
export const HANGS_MS = Number(process.env.COMPAT_HANGS_MS ?? 300_000);

/* ---- Tests ---- */

/* One point of the output. Tests of a file run one after the other: await each. */
export const test = (claim, body) => nodeTest(claim, { timeout: 2 * HANGS_MS }, body);

/* Waits until the condition holds, and gives what it gave. */
export async function until(condition, what) {
  const end = Date.now() + HANGS_MS;
  for (;;) {
    const value = await condition();
    if (value) return value;
    assert.ok(Date.now() < end, `waited in vain: ${what ?? condition}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/* The promise, or the whole iteration, ends with an error of this class with these fields. */
export async function fails(work, name, fields = {}) {
  let error;
  try {
    const value = await (Symbol.asyncIterator in Object(work) ? collect(work) : work);
    assert.fail(`${name} expected, this came: ${String(value)}`);
  } catch (thrown) {
    error = thrown;
  }
  assert.ok(error instanceof db[name], `${name} expected: ${error?.stack}`);
  for (const [key, value] of Object.entries(fields)) assert.deepEqual(error[key], value, key);
  return error;
}

/* ---- Words in which the clients differ ---- */

export const expect = (state) => (isKurrent ? { streamState: state } : { expectedRevision: state });

/* Fields of a WrongExpectedVersionError. */
export const conflict = (streamName, expected, actual) =>
  isKurrent
    ? { streamName, expectedState: expected, actualState: actual }
    : { streamName, expectedVersion: expected, actualVersion: actual };

/* ---- Events ---- */

let counter = 0;
/* A name that no test has used. */
export const fresh = (prefix = "stream") => `${prefix}-${++counter}`;

export const json = (type, data = {}, more = {}) => db.jsonEvent({ type, data, ...more });
export const binaryEvent = (type, data, more = {}) =>
  db.binaryEvent({ type, data: Buffer.from(data), ...more });
/* Events of one type whose data say where they stand: { n: from }, { n: from + 1 } … */
export const numbered = (count, type = "counted", from = 0) =>
  Array.from({ length: count }, (_, i) => json(type, { n: from + i }));

export async function collect(iterable) {
  const events = [];
  for await (const event of iterable) events.push(event);
  return events;
}

export const numbers = (events) => events.map(({ event }) => event.data.n);
export const revisions = (events) => events.map(({ event }) => Number(event.revision));
export const range = (from, to) => Array.from({ length: to - from }, (_, i) => from + i);

/* ---- Subscriptions ---- */

/* What came from a subscription so far. */
export class Followed {
  events = [];
  caughtUp = [];
  confirmed = false;
  ended = false;
  error = undefined;

  constructor(subscription, onEvent) {
    this.subscription = subscription;
    subscription.on("confirmation", () => (this.confirmed = true));
    subscription.on("caughtUp", (info) => this.caughtUp.push(info ?? {}));
    subscription.on("error", (error) => (this.error ??= error));
    subscription.on("end", () => (this.ended = true));
    subscription.on("close", () => (this.ended = true));
    subscription.on("data", (event) => {
      this.events.push(event);
      onEvent?.(event);
    });
  }

  async until(condition) {
    await until(() => this.error ?? condition(this), condition);
    if (this.error) throw this.error;
    return this;
  }

  /* Exactly so many events, or more, have come. */
  has(count) {
    return this.until(() => this.events.length >= count);
  }

  confirmation() {
    return this.until(() => this.confirmed);
  }

  /* The subscription ends with an error. */
  async failure() {
    await until(() => this.error ?? this.ended, "the subscription's error");
    assert.ok(this.error, "it ended without an error");
    throw this.error;
  }

  stop() {
    return this.subscription.unsubscribe();
  }
}

export const follow = (subscription, onEvent) => new Followed(subscription, onEvent);

/* ---- The server ---- */

/* A certificate authority, a server's certificate and one of the user admin; all in PEM. */
function makeCertificates(dir) {
  fs.writeFileSync(
    path.join(dir, "openssl.cnf"),
    "[req]\ndistinguished_name=dn\n[dn]\n[ca]\nbasicConstraints=critical,CA:TRUE\n" +
      "keyUsage=critical,keyCertSign\n[server]\nsubjectAltName=DNS:localhost,IP:127.0.0.1\n" +
      "[user]\nextendedKeyUsage=clientAuth\n",
  );
  const openssl = (...args) => execFileSync("openssl", args, { cwd: dir, stdio: ["ignore", "pipe", "pipe"] });
  const make = (name, subject) => {
    const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", `${name}.key`];
    return ["req", ...key, "-subj", `/CN=${subject}`, "-config", "openssl.cnf"];
  };
  openssl(...make("ca", "Tests"), "-x509", "-days", "2", "-extensions", "ca", "-out", "ca.pem");
  for (const [name, subject] of [["server", "localhost"], ["user", "admin"]]) {
    openssl(...make(name, subject), "-out", `${name}.csr`);
    openssl("x509", "-req", "-in", `${name}.csr`, "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
      "-days", "2", "-extfile", "openssl.cnf", "-extensions", name, "-out", `${name}.pem`);
  }
}

export class Server {
  static async start({ tls = false, args = [] } = {}) {
    const server = new Server();
    server.dir = fs.mkdtempSync(path.join(os.tmpdir(), "stele-compat."));
    server.tls = tls;
    server.args = [...(tls ? [] : ["--insecure"]), ...(isSanitized ? ["--no-sandbox"] : []), ...args];
    if (tls) {
      makeCertificates(server.dir);
      server.args.push("--tls-certificate", server.file("server.pem"), "--tls-key", server.file("server.key"),
        "--tls-client-ca", server.file("ca.pem"));
    }
    process.on("exit", () => server.cleanUp());
    await server.launch(0);
    return server;
  }

  file(name) {
    return path.join(this.dir, name);
  }

  async launch(port = this.port) {
    const args = ["serve", "--store", this.file("store"), "--listen", "localhost", "--port", String(port)];
    const process_ = spawn(binary, [...args, ...this.args], {
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...process.env, STELE_ADMIN_PASSWORD: "changeit", STELE_OPS_PASSWORD: "changeit-too" },
    });
    this.process = process_;
    this.output = "";
    this.ended = new Promise((resolve) => process_.on("exit", (code, signal) => resolve(code ?? signal)));
    for (const stream of [process_.stdout, process_.stderr]) {
      stream.setEncoding("utf8").on("data", (text) => (this.output += text));
    }
    const found = await until(() => {
      assert.equal(process_.exitCode ?? process_.signalCode, null, `the server ended: ${this.output}`);
      return /127\.0\.0\.1:(\d+)/.exec(this.output);
    }, "the server's address");
    this.port = Number(found[1]);
  }

  /* A connection string: scheme://user@localhost:port?options, with what TLS takes. */
  address({ user = this.tls ? "admin:changeit" : "", host = `localhost:${this.port}`, protocol = scheme,
    ...options } = {}) {
    const tls = this.tls ? { tlsCAFile: this.file("ca.pem") } : { tls: "false" };
    /* KurrentDB's client waits for the interval before it connects for the first time, too, and gives up after
     * so many attempts also where it has nothing to discover: a busy machine needs more of short ones. */
    const patience = { discoveryInterval: 50, maxDiscoverAttempts: 200 };
    const query = new URLSearchParams({ ...tls, ...patience, ...options }).toString().replaceAll("%2F", "/");
    return `${protocol}://${user && user + "@"}${host}?${query}`;
  }

  client(options) {
    return Client.connectionString(this.address(options));
  }

  signal(name) {
    this.process.kill(name);
  }

  async kill() {
    this.signal("SIGKILL");
    await this.ended;
  }

  /* Ends it as an administrator would; a sanitizer that found something makes the code another. */
  async stop() {
    this.signal("SIGTERM");
    assert.equal(await this.ended, 0, this.output);
  }

  cleanUp() {
    this.process?.kill("SIGKILL");
    fs.rmSync(this.dir, { recursive: true, force: true });
  }
}

/* ---- A cluster ---- */

/* Ports that nobody has now. */
async function freePorts(count) {
  const servers = await Promise.all(range(0, count).map(() => new Promise((resolve, reject) => {
    const one = net.createServer();
    one.on("error", reject).listen(0, "127.0.0.1", () => resolve(one));
  })));
  const ports = servers.map((one) => one.address().port);
  await Promise.all(servers.map((one) => new Promise((resolve) => one.close(resolve))));
  return ports;
}

/* Nodes on this machine, in plain text; nodes[0] has made the cluster. relayed: they speak to each other through
 * tests/cluster/relay.py, which is told by relay() what to do to them. */
export class Cluster {
  static async start(count, { relayed = false } = {}) {
    const cluster = new Cluster();
    const ports = await freePorts(3 * count);
    cluster.dir = fs.mkdtempSync(path.join(os.tmpdir(), "stele-compat."));
    cluster.nodes = range(0, count).map((i) => {
      const node = new Server();
      node.dir = path.join(cluster.dir, `n${i + 1}`);
      node.tls = false;
      node.port = ports[2 * i];
      node.args = ["--insecure", "--advertise-host", "localhost", ...(isSanitized ? ["--no-sandbox"] : []),
        ...(relayed ? ["--cluster-listen", `127.0.0.1:${ports[2 * count + i]}`] : [])];
      fs.mkdirSync(node.dir);
      execFileSync(binary, ["cluster", i === 0 ? "init" : "join", "--store", node.file("store"),
        "--name", `n${i + 1}`, "--address", `localhost:${ports[2 * i + 1]}`, "--client", `localhost:${node.port}`,
        ...(i === 0 ? ["--partitions", "4"] : ["--seed", `localhost:${ports[1]}`])]);
      return node;
    });
    process.on("exit", () => cluster.cleanUp());
    if (relayed) {
      await cluster.startRelay();
      for (const i of range(0, count)) await cluster.relay(`node ${i + 1} ${ports[2 * count + i]} ${ports[2 * i + 1]}`);
    }
    /* A node that joins is served when the cluster has given it a number. */
    for (const node of cluster.nodes) {
      await node.launch();
      await until(() => cluster.isReady(node), "a node to be ready");
    }
    await until(async () => {
      const seen = await Promise.all(cluster.nodes.map((node) => cluster.gossip(node).catch(() => ({ members: [] }))));
      return seen.every(({ members }) => members.length === count && members.every((one) => one.isAlive) &&
        members.some((one) => one.state === "Leader") && members.filter((one) => one.state === "Follower").length === count - 1);
    }, "every node to know all");
    return cluster;
  }

  async startRelay() {
    const socket = path.join(this.dir, "relay");
    const program = path.join(path.dirname(fileURLToPath(import.meta.url)), "../cluster/relay.py");
    this.relayProcess = spawn("python3", ["-B", program, socket], { stdio: ["ignore", "pipe", "inherit"] });
    await new Promise((resolve) => this.relayProcess.stdout.once("data", resolve));
    this.relaySocket = net.connect(socket).setEncoding("utf8");
    this.relaySocket.unref();
  }

  async relay(command) {
    const answer = new Promise((resolve) => this.relaySocket.once("data", resolve));
    this.relaySocket.write(command + "\n");
    const text = await answer;
    assert.ok(text.startsWith("ok"), `${command}: ${text}`);
  }

  async isReady(node) {
    return (await fetch(`http://localhost:${node.port}/health/ready`)).status === 200;
  }

  async gossip(node) {
    return (await fetch(`http://localhost:${node.port}/gossip`)).json();
  }

  /* The node that all who live agree leads. */
  leader() {
    return until(async () => {
      const living = this.nodes.filter(({ process }) => process.exitCode === null && process.signalCode === null);
      const views = await Promise.all(living.map((node) => this.gossip(node).catch(() => ({ members: [] }))));
      const ports = new Set(views.map(({ members }) =>
        members.find((one) => one.state === "Leader" && one.isAlive)?.httpEndPointPort));
      return ports.size === 1 && living.find(({ port }) => ports.has(port));
    }, "a leader");
  }

  /* host: a node to be asked first; otherwise all are named. */
  client({ host, ...options } = {}) {
    const hosts = (host === undefined ? this.nodes : [host, host]).map(({ port }) => `localhost:${port}`);
    return Client.connectionString(this.nodes[0].address({ host: hosts.join(","), ...options }));
  }

  /* Of one node, without gossip: it goes elsewhere only if it is led there. */
  single(node, options) {
    return Client.connectionString(node.address(options));
  }

  async stop() {
    for (const node of this.nodes) node.signal("SIGTERM");
    for (const node of this.nodes) assert.equal(await node.ended, 0, node.output);
    this.relayProcess?.kill("SIGKILL");
  }

  cleanUp() {
    for (const node of this.nodes) node.process?.kill("SIGKILL");
    this.relayProcess?.kill("SIGKILL");
    fs.rmSync(this.dir, { recursive: true, force: true });
  }
}

/* At the end of a file: what still keeps the process alive minutes from now is a mistake. */
export async function finish(server, ...clients) {
  for (const client of clients) await client.dispose();
  await server.stop();
  setTimeout(() => process.exit(1), HANGS_MS).unref();
}
