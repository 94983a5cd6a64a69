/** Starts a run that continues without its caller, and watches it from another client: node watch.js 127.0.0.1:7070 */

import { Client } from "lanemesh";

const pipeline = {
  components: [
    { id: "chat_1", provider: "chat" },
    { id: "count_1", provider: "count", input: [{ lane: "text", from: "chat_1" }] },
    { id: "out_1", provider: "response", config: { lane: "data" }, input: [{ lane: "data", from: "count_1" }] },
  ],
  version: 1,
};

const client = new Client(process.argv[2] ?? "127.0.0.1:7070");
const { id } = await client.startRun(pipeline, { inputs: ["one", "two", "three"] });
let last = 0n;
for await (const update of client.watch(id).updates()) {
  if (update.kind === "missed") continue;
  last = update.sequence;
  if (update.kind === "output") console.log(JSON.stringify(update.output.value));
}
// A reader that comes back with the number of its last update gets what follows, and nothing twice.
for await (const update of client.watch(id, { after: last - 1n }).updates()) console.log(update.kind);
client.close();
