import { afterAll, beforeAll, expect, inject, test } from "vitest";
import {
  Client,
  Code,
  data,
  image,
  LanemeshError,
  NodeState,
  PipelineInvalid,
  question,
  RunState,
} from "../src/index.js";
import { chain } from "./pipelines.js";

let client: Client;

beforeAll(() => {
  client = new Client(inject("mesh"));
});

afterAll(() => client?.close());

test("a run streams its texts", async () => {
  const run = client.run(chain("text", "shout"), { inputs: ["one", "two"] });
  const texts: string[] = [];
  for await (const text of run.texts()) texts.push(text);
  expect(texts).toEqual(["ONE", "TWO"]);
  expect(run.id).toMatch(/\w+/);
});

test("a request returns its result", async () => {
  const result = await client.request(chain("text", "shout"), "hello");
  expect(result.text).toBe("HELLO");
  expect(result.value).toEqual({ lane: "text", value: "HELLO" });
});

test("updates are numbered without gaps and end with the state of the run", async () => {
  const run = client.run(chain("text", "shout"), { input: "hello" });
  const updates = [];
  for await (const update of run.updates()) updates.push(update);
  const numbers = updates.map((update) => update.kind !== "missed" && update.sequence);
  expect(numbers).toEqual(updates.map((_, index) => BigInt(index + 1)));
  const last = updates.at(-1);
  expect(last?.kind === "job" && last.job.state).toBe(RunState.COMPLETED);
  const nodes = updates.filter((update) => update.kind === "node" && update.node.state === NodeState.COMPLETED);
  expect(nodes).toHaveLength(3);
});

test("integers of 64 bits are exact", async () => {
  const values = [
    9223372036854775807n,
    -9223372036854775808n,
    9007199254740993n,
    42,
    1.5,
    [9007199254740993n, "9"],
    null,
  ];
  const pipeline = {
    components: [
      { id: "in", provider: "webhook" },
      { id: "out", provider: "response", config: { lane: "data" }, input: [{ lane: "data", from: "in" }] },
    ],
    version: 1,
  };
  const result = await client.request(pipeline, data(values));
  expect(result.value).toEqual({ lane: "data", value: values });
});

test("pushed inputs are taken, and a rejected one reports the reason", async () => {
  const run = client.run(chain("text", "shout"), { open: true });
  await run.push("a");
  await expect(run.push(data({ no: "text" }), "nowhere")).rejects.toMatchObject({ reason: "bad-input" });
  await run.push("b");
  await run.end();
  expect(await run.text()).toBe("AB");
});

test("many inputs are fed while the run accepts them", async () => {
  async function* inputs() {
    for (let number = 0; number < 500; number++) yield `${number} `;
  }
  const text = await client.run(chain("text", "shout"), { inputs: inputs() }).text();
  expect(text.trim().split(" ")).toHaveLength(500);
});

test("media arrive whole", async () => {
  const content = new Uint8Array(3 * 1024 * 1024).map((_, index) => index % 251);
  const result = await client.request(chain("image", "thumbnail"), image({ mimeType: "image/png", content }));
  const value = result.value;
  if (value.lane !== "image") throw new Error(value.lane);
  expect(value.value.width).toBe(content.length);
  expect(Buffer.compare(Buffer.from(value.value.content ?? []), Buffer.from(content.toReversed()))).toBe(0);
});

test("a failed run reports the component and its stack", async () => {
  const error = await client
    .run(chain("text", "fails"), { inputs: ["a", "b", "c"] })
    .text()
    .catch((failure) => failure);
  expect(error).toBeInstanceOf(LanemeshError);
  expect(error.message).toContain("cannot read b");
  expect(error.component).toBe("node");
  expect(error.reason).toBe("node-error");
  expect(error.traceback).toContain("raise ValueError");
});

test("an invalid pipeline reports every fault", async () => {
  const pipeline = {
    components: [
      { id: "a", provider: "nothing" },
      { id: "a", provider: "nothing" },
    ],
    version: 1,
  };
  const error = await client.request(pipeline, "x").catch((failure) => failure);
  expect(error).toBeInstanceOf(PipelineInvalid);
  expect(error.faults.length).toBeGreaterThan(1);
  expect(error.code).toBe(Code.InvalidArgument);
  expect(await client.validate(pipeline)).toHaveLength(error.faults.length);
});

test("a cancelled run reports why", async () => {
  const run = client.run(chain("text", "forever"), { input: "x" });
  await run.started;
  await run.cancel("no longer needed");
  await expect(run.text()).rejects.toMatchObject({
    code: Code.Canceled,
    message: expect.stringContaining("no longer needed"),
  });
});

test("an owner that leaves cancels its run", async () => {
  const abort = new AbortController();
  const run = client.run(chain("text", "forever"), { input: "x", signal: abort.signal });
  const id = await run.started;
  abort.abort();
  await expect(run.text()).rejects.toBeInstanceOf(LanemeshError);
  await expect(client.watch(id).text()).rejects.toMatchObject({ code: Code.Canceled });
});

test("an owner that does not read holds its run", async () => {
  const run = client.run(chain("text", "counting", { size: 1000 }), { input: "20000" });
  const id = await run.started;
  const reader = run.texts();
  for (let number = 0; number < 300; number++) await reader.next();
  const sent = async () => (await client.getRun(id)).outputCount;
  let [before, after] = [-1n, await sent()];
  while (before !== after) {
    await new Promise((resolve) => setTimeout(resolve, 200));
    [before, after] = [after, await sent()];
  }
  expect(after).toBeLessThan(3000n);
  let count = 300;
  for await (const _ of reader) count += 1;
  expect(count).toBe(20000);
});

test("a detached run is watched by several, from any update on", async () => {
  const started = await client.startRun(chain("text", "counting"), { input: "1000" });
  const texts = await Promise.all([client.watch(started.id).text(), started.text()]);
  expect(texts[0]).toBe(texts[1]);
  const all = [];
  for await (const update of started.updates()) all.push(update);
  const half = all[500];
  if (half === undefined || half.kind === "missed") throw new Error("no such update");
  const rest = [];
  for await (const update of client.watch(started.id, { after: half.sequence }).updates()) rest.push(update);
  expect(rest).toHaveLength(all.length - 501);
});

test("the same idempotency key starts one run", async () => {
  const options = { input: "3", idempotencyKey: "once" };
  const [one, other] = [
    await client.startRun(chain("text", "counting"), options),
    await client.startRun(chain("text", "counting"), options),
  ];
  expect(one.id).toBe(other.id);
});

test("deployed pipelines run by name", async () => {
  await client.deploy("shouts", chain("text", "shout"));
  expect((await client.request("@shouts", "hello")).text).toBe("HELLO");
  expect((await client.listDeployments()).map((one) => one.name)).toEqual(["shouts"]);
  await client.undeploy("shouts");
  await expect(client.request("@shouts", "hello")).rejects.toMatchObject({ code: Code.NotFound });
});

test("a conversation is kept as a session", async () => {
  const pipeline = chain("questions", "parrot");
  const options = { session: "s-1", conversation: {} };
  await client.request(pipeline, question("first"), options);
  const second = await client.request(pipeline, question("second"), options);
  expect(second.text).toBe("2 earlier messages, second");
  const { session, turns } = await client.sessions.get("s-1");
  expect(session.lastTurn).toBe(2);
  expect(turns.map((turn) => turn.question?.text)).toEqual(["first", "second"]);
  await client.sessions.fork("s-1", "s-2", { turn: 1 });
  const ids = [];
  for await (const one of client.sessions.list()) ids.push(one.sessionId);
  expect(ids.sort()).toEqual(["s-1", "s-2"]);
  await client.sessions.delete("s-1");
  await expect(client.sessions.get("s-1")).rejects.toMatchObject({ code: Code.NotFound });
});

test("an approval is requested and decided", async () => {
  const run = client.run(chain("text", "careful"), { input: "x" });
  const results: string[] = [];
  for await (const update of run.updates()) {
    if (update.kind === "approval" && update.approval.reason === "" && results.length === 0) {
      await run.approve(update.approval.callId);
      results.push(update.approval.description);
    }
    if (update.kind === "output" && update.output.lane === "text") results.push(update.output.value);
  }
  expect(results).toEqual(["send x", "approved"]);
});

test("an orchestrator that cannot be reached is named", async () => {
  const nowhere = new Client("127.0.0.1:1");
  await expect(nowhere.request(chain("text", "shout"), "x")).rejects.toMatchObject({
    reason: "unreachable",
    message: expect.stringContaining("127.0.0.1:1"),
  });
  nowhere.close();
  expect(() => new Client("nonsense")).toThrow("HOST:PORT");
});
