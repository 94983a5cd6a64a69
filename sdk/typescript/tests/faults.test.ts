import { setTimeout as pause } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Client, Code, data, defineNode, LanemeshError, type NodeServer, RunState, serve } from "../src/index.js";
import { Cable } from "./cable.js";
import { lanemesh, Mesh } from "./mesh.js";
import { chain } from "./pipelines.js";

let attempts = 0;

const nodes = [
  defineNode(
    { name: "tally_ts", inputs: { text: "text" }, outputs: { total: "text" } },
    {
      async run(inputs, outputs) {
        let count = 0;
        for await (const _ of inputs.port("text")) count += 1;
        await outputs.emit("total", String(count));
      },
    },
  ),
  defineNode(
    { name: "same_ts", inputs: { text: "text" }, outputs: { same: "text" } },
    { process: ({ text }) => ({ same: text }) },
  ),
  defineNode(
    { name: "flaky_ts", inputs: { text: "text" }, outputs: { same: "text" } },
    {
      process({ text }) {
        attempts += 1;
        if (text === "bad" || attempts % 2 === 1) throw new Error(`attempt ${attempts}`);
        return { same: text };
      },
    },
  ),
  defineNode(
    { name: "slow_ts", inputs: { text: "text" }, outputs: { same: "text" } },
    {
      async process({ text }) {
        await pause(60_000);
        return { same: text };
      },
    },
  ),
  defineNode(
    { name: "pairs_ts", inputs: { all: "text", each: "text" }, outputs: { pair: "text" }, syncMode: "zip_all" },
    { process: ({ all, each }) => ({ pair: `${each}/${all} ` }) },
  ),
  defineNode(
    { name: "collected_ts", inputs: { text: { lane: "text", list: true } }, outputs: { text: "text" } },
    { process: ({ text }) => ({ text: String(text.length) }) },
  ),
  defineNode(
    { name: "secretive_ts", inputs: { data: "data" }, outputs: { data: "data" } },
    {
      process({ data }, { log }) {
        log.info(`it is ${JSON.stringify(data)}`);
        return { data: { nan: Number.NaN } };
      },
    },
  ),
];

let mesh: Mesh;
let server: NodeServer;
let client: Client;

beforeAll(async () => {
  mesh = await Mesh.start();
  server = await serve({ orchestrator: mesh.address, nodes, name: "ts", log: () => {} });
  await Promise.all([server.joined, mesh.node("sdk/typescript/tests/nodes.py", "--name", "python")]);
  client = new Client(mesh.address);
});

afterAll(async () => {
  client?.close();
  await server?.close();
  await mesh?.stop();
});

test("a watcher goes on after its connection broke, with nothing lost or doubled", async () => {
  const cable = new Cable(mesh.address);
  const watcher = new Client(await cable.start());
  const { id } = await client.startRun(chain("text", "counting", "sleepless"), { input: "400" });
  const run = watcher.watch(id);
  const texts: string[] = [];
  for await (const text of run.texts()) {
    texts.push(text.trim());
    if (texts.length % 100 === 50) cable.snap();
  }
  expect(texts).toEqual(Array.from({ length: 400 }, (_, number) => String(number)));
  expect(run.missed).toBe(0n);
  watcher.close();
  await cable.stop();
});

test("an owner whose connection breaks loses its run", async () => {
  const cable = new Cable(mesh.address);
  const owner = new Client(await cable.start());
  const run = owner.run(chain("text", "forever"), { input: "x" });
  const id = await run.started;
  cable.snap();
  await expect(run.text()).rejects.toMatchObject({ reason: "unreachable" });
  await expect(client.watch(id).text()).rejects.toMatchObject({ code: Code.Canceled });
  owner.close();
  await cable.stop();
});

test("a killed Python server ends the run, and this server keeps nothing of it", async () => {
  const doomed = await mesh.node("sdk/typescript/tests/doomed.py", "--name", "doomed");
  const run = client.run(chain("text", "endless", "tally_ts"), { input: "x" });
  await run.started;
  await expect.poll(() => server.activeInstances).toBeGreaterThan(0);
  await pause(100);
  doomed.child.kill("SIGKILL");
  const error = await run.text().catch((failure) => failure);
  expect(error).toBeInstanceOf(LanemeshError);
  expect(error.code).toBe(Code.Unavailable);
  await expect.poll(() => server.activeInstances).toBe(0);
});

test("on_error: a failed firing is dropped, or repeated", async () => {
  const pipeline = (onError: unknown) => {
    const made = chain("text", "flaky_ts");
    Object.assign(made.components[1] ?? {}, { on_error: onError });
    return made;
  };
  attempts = 1;
  const kept = await client.run(pipeline("skip"), { inputs: ["a", "bad", "b", "c"] }).text();
  expect(kept).toBe("ab");
  attempts = 0;
  const retry = { retry: { attempts: 3, backoff: 0.01 } };
  expect(await client.run(pipeline(retry), { inputs: ["a", "b"] }).text()).toBe("ab");
  await expect(client.run(pipeline(retry), { input: "bad" }).text()).rejects.toMatchObject({ reason: "node-error" });
});

test("timeout: a firing that takes too long fails its run", async () => {
  const pipeline = chain("text", "slow_ts");
  Object.assign(pipeline.components[1] ?? {}, { timeout: 0.3 });
  const run = client.run(pipeline, { input: "x" });
  await expect(run.text()).rejects.toMatchObject({ code: Code.DeadlineExceeded, reason: "timeout", component: "node" });
});

test("reconverging paths: a deadlock of bounded lanes is resolved", async () => {
  const pipeline = {
    components: [
      { id: "in", provider: "chat" },
      { id: "same", provider: "same_ts", input: [{ lane: "text", from: "in" }] },
      { id: "all", provider: "collected_ts", input: [{ lane: "text", from: "same" }] },
      {
        id: "pairs",
        provider: "pairs_ts",
        input: [
          { lane: "text", from: "all", input: "all" },
          { lane: "text", from: "same", input: "each", buffer_limit: 4 },
        ],
      },
      { id: "out", provider: "response", config: { lane: "text" }, input: [{ lane: "text", from: "pairs" }] },
    ],
    version: 1,
  };
  const inputs = Array.from({ length: 20 }, (_, number) => String(number));
  const run = client.run(pipeline, { inputs });
  let growths = 0;
  const texts: string[] = [];
  for await (const update of run.updates()) {
    if (update.kind === "edge") growths = Math.max(growths, update.edge.growths);
    if (update.kind === "output" && update.output.lane === "text") texts.push(update.output.value.trim());
  }
  expect(texts).toEqual(inputs.map((input) => `${input}/20`));
  expect(growths).toBeGreaterThan(0);
});

test("a value that its lane cannot carry fails the node, by its port", async () => {
  const error = await client.request(chain("data", "secretive_ts"), data({ a: 1 })).catch((failure) => failure);
  expect(error).toMatchObject({ reason: "wrong-value", component: "node" });
  expect(error.details).toMatchObject({ port: "node.data", "lane-type": "data" });
});

test("a draining server takes no runs and finishes its own", async () => {
  const other = await serve({ orchestrator: mesh.address, nodes: [nodes[0] as never], name: "leaving", log: () => {} });
  await other.joined;
  expect(await other.drain()).toBe(true);
  const listed = async () => (await client.listNodeServers()).find((one) => one.info?.name === "leaving")?.draining;
  await expect.poll(listed).toBe(true);
  await other.close();
  await expect.poll(listed).toBeUndefined();
});

test("a restarted orchestrator is joined again", async () => {
  const port = mesh.address.split(":")[1] ?? "";
  const { id } = await client.startRun(chain("text", "slow_ts"), { input: "x" });
  await expect.poll(() => server.activeInstances).toBeGreaterThan(0);
  expect((await client.getRun(id)).state).toBe(RunState.RUNNING);
  await mesh.orchestrator.stop("SIGKILL");
  await expect.poll(() => server.activeInstances).toBe(0);
  mesh.orchestrator = lanemesh("serve", "--port", port);
  mesh.servers.push(mesh.orchestrator);
  await mesh.orchestrator.wrote("listening");
  const names = async () => (await client.listNodeServers().catch(() => [])).map((one) => one.info?.name);
  await expect.poll(names, { timeout: 15_000 }).toContain("ts");
  const tally = client.run(chain("text", "tally_ts"), { inputs: ["a", "b"] });
  expect(await tally.text()).toBe("2");
});
