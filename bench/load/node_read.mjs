/* What the official Node.js client gets: reads all events once and prints a line of result. Node finds the
 * client from the folder given first, which has a node_modules with it (tests/compat after `npm ci`).
 *
 *     node node_read.mjs FOLDER PORT EVENTS */
import { createRequire } from "node:module";
import path from "node:path";
import { performance } from "node:perf_hooks";

const [folder, port, wanted] = process.argv.slice(2);
const require = createRequire(path.join(path.resolve(folder), "package.json"));
const { KurrentDBClient, START } = require("@kurrent/kurrentdb-client");

const client = KurrentDBClient.connectionString(
  `kurrentdb://127.0.0.1:${port}?tls=false`,
);
const before = process.cpuUsage();
const begin = performance.now();
let events = 0;
for await (const resolved of client.readAll({
  fromPosition: START,
  maxCount: Number(wanted),
})) {
  events += resolved.event ? 1 : 0;
}
const seconds = (performance.now() - begin) / 1000;
const used = process.cpuUsage(before);
const cpu = (used.user + used.system) / 1e6;
console.log(
  JSON.stringify({
    program: "node",
    workload: "readall",
    events_per_s: Math.round(events / seconds),
    operations_per_s: 1 / seconds,
    events,
    operations: 1,
    errors: events === Number(wanted) ? 0 : 1,
    seconds,
    cpus: cpu / seconds,
    cpus_others: 0,
  }),
);
await client.dispose();
