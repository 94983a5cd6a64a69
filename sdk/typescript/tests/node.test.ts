import { setTimeout as pause } from "node:timers/promises";
import { afterAll, beforeAll, expect, inject, test } from "vitest";
import { z } from "zod";
import {
  audio,
  Client,
  Code,
  defineNode,
  image,
  LanemeshError,
  type NodeServer,
  question,
  serve,
} from "../src/index.js";
import { Signal } from "../src/signal.js";
import { chain } from "./pipelines.js";

const shoutTs = defineNode(
  {
    name: "shout_ts",
    description: "Upper case, several times.",
    inputs: { text: "text" },
    outputs: { loud: "text" },
    config: z.object({ times: z.number().int().min(1).default(1) }),
  },
  {
    process({ text }, { config }) {
      return { loud: text.toUpperCase().repeat(config.times) };
    },
  },
);

const countTs = defineNode(
  { name: "count_ts", inputs: { text: "text" }, outputs: { numbers: "text" } },
  {
    async *generate({ text }) {
      for (let number = 0; number < Number(text); number++) yield { numbers: `${number} ` };
    },
  },
);

const total = defineNode(
  { name: "total_ts", inputs: { text: "text" }, outputs: { total: "text" } },
  {
    async run(inputs, outputs) {
      let count = 0;
      for await (const _ of inputs.port("text")) count += 1;
      await outputs.emit("total", String(count));
    },
  },
);

const failsTs = defineNode(
  { name: "fails_ts", inputs: { text: "text" }, outputs: { same: "text" } },
  {
    process({ text }) {
      if (text === "b") throw new TypeError(`cannot read ${text}`);
      return { same: text };
    },
  },
);

const ended: string[] = [];

/** A class: each component of a run has an object. */
class Patient {
  async process({ text }: { text: string }, { signal }: { signal: AbortSignal }) {
    await new Promise<void>((_, reject) => {
      signal.addEventListener("abort", () => {
        ended.push(`aborted ${text}`);
        reject(signal.reason);
      });
    });
    return undefined;
  }

  finalize() {
    ended.push("finalized");
  }
}

const patient = defineNode({ name: "patient_ts", inputs: { text: "text" }, outputs: { same: "text" } }, Patient);

let emitted = 0;
const endless = defineNode(
  { name: "endless_ts", inputs: { text: "text" }, outputs: { numbers: "text" } },
  {
    async run(inputs, outputs) {
      for await (const _ of inputs.port("text")) {
        for (emitted = 0; await outputs.emit("numbers", "x".repeat(1000)); emitted++);
      }
    },
  },
);

const firstOnly = defineNode(
  { name: "first_ts", inputs: { text: "text" }, outputs: { first: "text" } },
  {
    async run(inputs, outputs) {
      for await (const text of inputs.port("text")) {
        await outputs.emit("first", text);
        return;
      }
    },
  },
);

const slow = defineNode(
  { name: "slow_ts", inputs: { text: "text" }, outputs: { same: "text" } },
  {
    async process({ text }) {
      await pause(5);
      return { same: text.slice(0, 10) };
    },
  },
);

const mirror = defineNode(
  { name: "mirror_ts", inputs: { image: "image" }, outputs: { image: "image" } },
  {
    process({ image }) {
      return { image: { ...image, content: image.content?.toReversed() ?? new Uint8Array(), width: 7 } };
    },
  },
);

const answering = defineNode(
  { name: "answer_ts", inputs: { questions: "questions" }, outputs: { answers: "answers" } },
  {
    async *generate({ questions }) {
      for (const word of questions.text.split(" ")) yield { answers: { text: `${word}!` } };
      yield { answers: { finishReason: "stop", usage: { promptTokens: 2n ** 60n, completionTokens: 1n } } };
    },
  },
);

const whole = defineNode(
  { name: "whole_ts", inputs: { answers: { lane: "answers", whole: true } }, outputs: { text: "text" } },
  { process: ({ answers }) => ({ text: `[${answers.text}|${answers.usage?.promptTokens}]` }) },
);

const pair = defineNode(
  {
    name: "pair_ts",
    inputs: { left: "data", right: { lane: "data", required: false } },
    outputs: { pair: "data" },
    syncMode: "zip_all",
  },
  { process: ({ left, right }) => ({ pair: [left, right ?? null] }) },
);

const collect = defineNode(
  { name: "collect_ts", inputs: { text: { lane: "text", list: true } }, outputs: { joined: "text" } },
  { process: ({ text }) => ({ joined: text.join("+") }) },
);

/** What the firings of `gather_ts` have begun, and how many of them run. */
const begun = { texts: new Set<string>(), running: 0, most: 0, changed: new Signal() };

/** Its firing of a text such as "a<c" ends when that of "c" has begun; that of "a!" fails. */
const gather = defineNode(
  { name: "gather_ts", inputs: { text: "text" }, outputs: { same: "text" } },
  {
    async process({ text }) {
      const [own = "", awaited] = text.split("<");
      begun.running += 1;
      begun.most = Math.max(begun.most, begun.running);
      begun.texts.add(own);
      begun.changed.fire();
      while (awaited !== undefined && !begun.texts.has(awaited)) await begun.changed.wait();
      begun.running -= 1;
      if (own.endsWith("!")) throw new Error(`cannot gather ${own}`);
      return { same: own };
    },
  },
);

const repeat = defineNode(
  { name: "repeat_ts", inputs: { text: "text" }, outputs: { same: "text" } },
  {
    async *generate({ text }) {
      const [own = "", awaited] = text.split("<");
      begun.texts.add(own);
      begun.changed.fire();
      while (awaited !== undefined && !begun.texts.has(awaited)) await begun.changed.wait();
      yield { same: own };
      yield { same: own };
    },
  },
);

const nodes = [
  gather,
  repeat,
  shoutTs,
  countTs,
  total,
  failsTs,
  patient,
  endless,
  firstOnly,
  slow,
  mirror,
  answering,
  whole,
  pair,
  collect,
];

let server: NodeServer;
let client: Client;

beforeAll(async () => {
  server = await serve({ orchestrator: inject("mesh"), nodes, name: "ts", log: () => {} });
  await server.joined;
  client = new Client(inject("mesh"));
});

afterAll(async () => {
  client?.close();
  await server?.close();
});

test("it joins the mesh with its node types", async () => {
  const servers = await client.listNodeServers();
  const found = servers.find((one) => one.info?.name === "ts");
  expect(found?.providers).toContain("shout_ts");
  const types = await client.listNodeTypes();
  const schema = JSON.parse(types.find((type) => type.provider === "shout_ts")?.configSchemaJson ?? "");
  expect(schema).toMatchObject({ additionalProperties: false, properties: { times: { minimum: 1 } } });
});

test("process: fires on each item, with the settings of its component", async () => {
  const result = await client.request(chain("text", "shout_ts", { times: 2 }), "hey");
  expect(result.text).toBe("HEYHEY");
});

test("generate: each value is sent as soon as it is yielded", async () => {
  expect(await client.run(chain("text", "count_ts"), { input: "5" }).text()).toBe("0 1 2 3 4 ");
});

test("run: reads its inputs itself", async () => {
  expect(await client.run(chain("text", "count_ts", "total_ts"), { input: "3000" }).text()).toBe("3000");
});

async function all<T>(values: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = [];
  for await (const value of values) found.push(value);
  return found;
}

/** A pipeline of one node with so many firings at once, each of which may take 30 s. */
function concurrent(provider: string, concurrency: number) {
  begun.texts.clear();
  begun.most = 0;
  begun.running = 0;
  const pipeline = chain("text", provider);
  Object.assign(pipeline.components.at(1) ?? {}, { concurrency, timeout: 30 });
  return pipeline;
}

test("concurrency: firings run at once, and their results keep the order of the inputs", async () => {
  const inputs = ["a<c", "b<c", "c", "d<f", "e<f", "f"];
  const run = client.run(concurrent("gather_ts", 3), { inputs });
  expect(await all(run.texts())).toEqual(["a", "b", "c", "d", "e", "f"]);
  expect(begun.most).toBe(3);
  const pieces = client.run(concurrent("repeat_ts", 2), { inputs: ["a<b", "b"] });
  expect(await all(pieces.texts())).toEqual(["a", "a", "b", "b"]);
});

test("concurrency: no more firings begin than it allows", async () => {
  const run = client.run(concurrent("gather_ts", 2), { inputs: Array.from({ length: 50 }, (_, n) => `${n}`) });
  expect((await all(run.texts())).length).toBe(50);
  expect(begun.most).toBeLessThanOrEqual(2);
});

test("concurrency: what the firings before a failed one have made is sent before its error", async () => {
  const run = client.run(concurrent("gather_ts", 3), { inputs: ["a<c", "b!", "c", "d<never"] });
  const seen: string[] = [];
  const error = await (async () => {
    for await (const text of run.texts()) seen.push(text);
  })().catch((thrown) => thrown);
  expect(error).toMatchObject({ reason: "node-error", message: "Error: cannot gather b!", component: "node" });
  expect(seen).toEqual(["a"]);
});

test("lanes lead from Python to TypeScript and back", async () => {
  const one = await client.run(chain("text", "counting", "shout_ts", "shout", "total_ts"), { input: "5000" }).text();
  expect(one).toBe("5000");
});

test("a failed body fails its run with its component and stack", async () => {
  const error = await client
    .run(chain("text", "fails_ts"), { inputs: ["a", "b"] })
    .text()
    .catch((e) => e);
  expect(error).toBeInstanceOf(LanemeshError);
  expect(error).toMatchObject({ reason: "node-error", component: "node", message: "TypeError: cannot read b" });
  expect(error.traceback).toContain("node.test.ts");
});

test("settings are checked by the schema", async () => {
  const request = client.request(chain("text", "shout_ts", { times: 0 }), "x");
  await expect(request).rejects.toMatchObject({
    code: Code.InvalidArgument,
    message: expect.stringContaining("times"),
  });
});

test("cancel aborts the body and finalizes it", async () => {
  ended.length = 0;
  const run = client.run(chain("text", "patient_ts"), { input: "x" });
  await run.started;
  await expect.poll(() => server.activeInstances).toBeGreaterThan(0);
  await pause(100);
  await run.cancel();
  await expect(run.text()).rejects.toMatchObject({ code: Code.Canceled });
  await expect.poll(() => server.activeInstances).toBe(0);
  expect(ended).toEqual(["aborted x", "finalized"]);
});

test("a consumer that stops ends an endless producer", async () => {
  expect(await client.run(chain("text", "endless_ts", "first_ts"), { input: "x" }).text()).toBe("x".repeat(1000));
  await expect.poll(() => server.activeInstances).toBe(0);
});

test("emit waits for a slow consumer", async () => {
  const run = client.run(chain("text", "endless_ts", "sleepy"), { input: "x" });
  await run.started;
  await expect.poll(() => emitted).toBeGreaterThan(100);
  await pause(1000);
  expect(emitted).toBeLessThan(10_000); // without a wait it would be many more by now
  await run.cancel();
  await run.text().catch(() => {});
});

test("a slow TypeScript consumer holds a Python producer", async () => {
  const run = client.run(chain("text", "counting", { size: 1000 }, "slow_ts", "total_ts"), { input: "300" });
  expect(await run.text()).toBe("300");
});

test("media keep their bytes, in chunks", async () => {
  const content = new Uint8Array(5 * 1024 * 1024).map((_, index) => index % 253);
  const pipeline = chain("image", "mirror_ts", "thumbnail", "mirror_ts");
  const result = await client.request(pipeline, image({ mimeType: "image/png", content }));
  const value = result.value;
  if (value.lane !== "image") throw new Error(value.lane);
  expect(Buffer.compare(Buffer.from(value.value.content ?? []), Buffer.from(content.toReversed()))).toBe(0);
  expect(value.value.mimeType).toBe("image/png");
  await client.request(
    chain("audio", "louder"),
    audio({ mimeType: "audio/wav", content: new Uint8Array(9), rate: 8000 }),
  );
});

test("answers are groups, whose pieces a consumer of wholes assembles", async () => {
  expect((await client.request(chain("questions", "answer_ts"), question("a b"))).text).toBe("a!b!");
  const assembled = await client.request(chain("questions", "answer_ts", "whole_ts"), question("a b"));
  expect(assembled.text).toBe(`[a!b!|${2n ** 60n}]`);
  const python = await client.request(chain("questions", "parrot", "whole_ts"), question("a b"));
  expect(python.text).toContain("a b|");
});

test("a list collects all items", async () => {
  expect(await client.run(chain("text", "shout", "collect_ts"), { inputs: ["a", "b", "c"] }).text()).toBe("A+B+C");
});

test("an owner that leaves ends the instances of its run", async () => {
  const run = client.run(chain("text", "patient_ts"), { input: "x" });
  await run.started;
  await expect.poll(() => server.activeInstances).toBeGreaterThan(0);
  run.close();
  await expect.poll(() => server.activeInstances).toBe(0);
});
