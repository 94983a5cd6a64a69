import { build } from "esbuild";
import { afterAll, beforeAll, expect, inject, test } from "vitest";
import { WebSocket } from "ws";
import { Code, GatewaySocket, WebClient, type WebSocketLike } from "../src/browser/index.js";
import { envoy } from "./envoy.js";
import { freePort, type Server } from "./mesh.js";
import { chain } from "./pipelines.js";

let proxy: Server;
let client: WebClient;

const connect = (url: string, protocols: string[]) => new WebSocket(url, protocols) as unknown as WebSocketLike;

beforeAll(async () => {
  const web = await freePort();
  proxy = await envoy(web, inject("mesh"));
  client = new WebClient(`http://127.0.0.1:${web}`);
});

afterAll(() => proxy?.stop());

test("it has no part that needs Node.js", async () => {
  const options = { bundle: true, minify: true, write: false, platform: "browser", format: "esm" } as const;
  const result = await build({ entryPoints: ["src/browser/index.ts"], ...options });
  expect(result.errors).toEqual([]);
  expect(result.outputFiles[0]?.contents.length).toBeLessThan(400_000);
});

test("gRPC-Web: runs, watching and errors through Envoy", async () => {
  expect((await client.request(chain("text", "shout"), "hello")).text).toBe("HELLO");
  const run = await client.startRun(chain("text", "counting"), { input: "2000" });
  let count = 0;
  for await (const _ of run.texts()) count += 1;
  expect(count).toBe(2000);
  await expect(client.request(chain("text", "fails"), "x").then(() => client.getRun("none"))).rejects.toMatchObject({
    code: Code.NotFound,
    reason: "unknown-run",
  });
  expect(await client.validate(chain("text", "nothing"))).not.toEqual([]);
});

test("gRPC-Web: a caller that leaves cancels its request", async () => {
  const abort = new AbortController();
  const request = client.request(chain("text", "forever"), "x", { name: "left", signal: abort.signal });
  const record = async () => {
    for await (const run of client.listRuns()) if (run.name === "left") return run;
    return undefined;
  };
  await expect.poll(record).toBeDefined();
  abort.abort();
  await expect(request).rejects.toBeDefined();
  const id = (await record())?.runId ?? "";
  await expect(client.watch(id).text()).rejects.toMatchObject({ code: Code.Canceled });
});

test("WebSocket: many runs over one connection", async () => {
  const socket = new GatewaySocket(inject("gateway"), { connect });
  const start = (text: string) => socket.start(chain("text", "shout"), { input: text });
  const runs = await Promise.all(["a", "b", "c"].map(start));
  expect(await Promise.all(runs.map((run) => run.text()))).toEqual(["A", "B", "C"]);
  const open = await socket.start(chain("text", "shout"), { open_input: true });
  await open.push("x");
  await open.push("y");
  await open.end();
  expect(await open.text()).toBe("XY");
  const failing = await socket.start(chain("text", "fails"), { inputs: ["a", "b"] });
  await expect(failing.text()).rejects.toMatchObject({ reason: "node-error", code: Code.Unknown });
  await expect(socket.start("@nothing")).rejects.toMatchObject({ code: Code.NotFound });
  socket.close();
});

test("WebSocket: answers, watching from a number on, and the loss of the connection", async () => {
  const socket = new GatewaySocket(inject("gateway"), { connect });
  const asked = await socket.start(chain("questions", "parrot"), {
    input: { lane: "questions", value: { text: "why?" } },
  });
  expect(await asked.text()).toBe("0 earlier messages, why?");
  const detached = await socket.start(chain("text", "counting"), { input: "50", detached: true });
  const updates = [];
  for await (const update of detached.updates()) updates.push(update.sequence);
  const rest = [];
  for await (const update of (await socket.watch(detached.id, 10)).updates()) rest.push(update.sequence);
  expect(rest).toEqual(updates.filter((sequence) => sequence > 10));
  const lost = await socket.start(chain("text", "forever"), { input: "x" });
  socket.close();
  await expect(lost.text()).rejects.toMatchObject({ code: Code.Unavailable });
});
