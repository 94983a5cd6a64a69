/** Runs a pipeline, and prints its texts as they arrive: node client.js 127.0.0.1:7070 "some words" */

import { Client } from "lanemesh";

const [address = "127.0.0.1:7070", words = "some words"] = process.argv.slice(2);

const pipeline = {
  components: [
    { id: "chat_1", provider: "chat" },
    { id: "upper_1", provider: "upper_case", input: [{ lane: "text", from: "chat_1" }] },
    { id: "out_1", provider: "response", config: { lane: "text" }, input: [{ lane: "text", from: "upper_1" }] },
  ],
  version: 1,
};

const client = new Client(address);
const run = client.run(pipeline, { inputs: words.split(" ") });
for await (const text of run.texts()) console.log(text);
client.close();
