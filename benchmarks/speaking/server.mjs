// The node server in TypeScript of the benchmark of languages: `server.mjs ADDRESS`. It ends when its standard input closes.
import { defineNode, serve } from "../../sdk/typescript/dist/index.js";

const pass = defineNode(
  { name: "bench_pass_typescript", description: "Passes texts on.", inputs: { text: "text" }, outputs: { out: "text" } },
  {
    async run(inputs, outputs) {
      for await (const text of inputs.port("text")) await outputs.emit("out", text);
    },
  },
);
const server = await serve({ orchestrator: process.argv[2], nodes: [pass] });
process.stdin.on("end", () => void server.close()).resume();
