// A server of tools in TypeScript. It knows only the protos of Lanemesh.
//
//   npm install && npm start [PORT]
//
// `tool_grpc` connects an agent to it.
import * as grpc from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import { fileURLToPath } from "node:url";

const protos = fileURLToPath(new URL("../../protos", import.meta.url));
const definition = loadSync("lanemesh/v1/control.proto", { includeDirs: [protos], keepCase: true });
const lanemesh = (grpc.loadPackageDefinition(definition) as any).lanemesh.v1;

const tools = [
  {
    name: "distance",
    description: "The distance between two points on Earth, in kilometres.",
    parameters_json: JSON.stringify({
      type: "object",
      properties: {
        from: { type: "array", items: { type: "number" }, description: "Latitude and longitude in degrees" },
        to: { type: "array", items: { type: "number" }, description: "Latitude and longitude in degrees" },
      },
      required: ["from", "to"],
    }),
  },
  {
    name: "countdown",
    description: "Counts down and reports each step. Slow.",
    parameters_json: JSON.stringify({ type: "object", properties: { steps: { type: "integer" } }, required: ["steps"] }),
  },
];

function distance({ from, to }: { from: [number, number]; to: [number, number] }): number {
  const [[a, b], [c, d]] = [from, to].map((point) => point.map((degrees) => (degrees * Math.PI) / 180));
  const h = Math.sin((c - a) / 2) ** 2 + Math.cos(a) * Math.cos(c) * Math.sin((d - b) / 2) ** 2;
  return Math.round(2 * 6371 * Math.asin(Math.sqrt(h)));
}

async function callTool(call: grpc.ServerWritableStream<any, any>): Promise<void> {
  const { call_id, name, arguments_json } = call.request;
  const answer = (content: unknown, is_error = false) => {
    call.write({ result: { call_id, name, content_json: JSON.stringify(content), is_error } });
    call.end();
  };
  try {
    const given = JSON.parse(arguments_json || "{}");
    if (name === "distance") {
      answer({ kilometres: distance(given) });
    } else if (name === "countdown") {
      for (let step = 1; step <= given.steps && !call.cancelled; step++) {
        call.write({ progress: { call_id, message: `step ${step}`, fraction: step / given.steps } });
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
      if (call.cancelled) console.log("cancelled");
      else answer("done");
    } else {
      answer({ error: `there is no tool ${name}` }, true);
    }
  } catch (error) {
    answer({ error: String(error) }, true);
  }
}

const server = new grpc.Server();
server.addService(lanemesh.ToolService.service, {
  ListTools: (_call: any, reply: grpc.sendUnaryData<any>) => reply(null, { tools }),
  CallTool: callTool,
});
server.bindAsync(`127.0.0.1:${process.argv[2] ?? 7800}`, grpc.ServerCredentials.createInsecure(), (error, port) => {
  if (error) throw error;
  console.log(`tools at 127.0.0.1:${port}`);
});
process.stdin.on("end", () => server.forceShutdown()).resume(); // ends with the program that started it
