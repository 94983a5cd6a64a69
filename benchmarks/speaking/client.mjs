// The client in TypeScript of the benchmark of languages: `client.mjs ADDRESS FILE TEXT REQUESTS` prints what it measured as JSON.
import { readFileSync } from "node:fs";
import { Client } from "../../sdk/typescript/dist/index.js";

const [address, file, text, requests] = process.argv.slice(2);
const pipeline = JSON.parse(readFileSync(file, "utf8"));
const client = new Client(address);
const milliseconds = [];
let outputs = 0;
for (let number = 0; number < Number(requests); number++) {
  const started = performance.now();
  for await (const _ of client.run(pipeline, { inputs: [text] }).texts()) outputs++;
  milliseconds.push(performance.now() - started);
}
client.close();
console.log(JSON.stringify({ milliseconds, outputs }));
