/** The node types that `lanemesh conformance` needs. */

import { setTimeout as pause } from "node:timers/promises";
import { z } from "zod";
import { defineNode, LANE_TYPES, type LaneType, type NodeType, type OutputPort } from "../src/index.js";

const text = { text: "text" } as const;
const out = { out: "text" } as const;

const echo = defineNode(
  { name: "conformance_echo", inputs: text, outputs: out },
  { process: ({ text }) => ({ out: text }) },
);

const source = defineNode(
  {
    name: "conformance_source",
    inputs: {},
    outputs: out,
    config: z.object({ count: z.number().int().min(0).default(3) }),
  },
  {
    async run(_, outputs, { config }) {
      for (let number = 0; number < config.count; number++) {
        if (!(await outputs.emit("out", String(number)))) return;
      }
    },
  },
);

const sink = defineNode({ name: "conformance_sink", inputs: text, outputs: {} }, { process: () => undefined });

const count = defineNode(
  { name: "conformance_count", inputs: text, outputs: out },
  {
    async run(inputs, outputs) {
      let count = 0;
      for await (const _ of inputs.port("text")) count += 1;
      await outputs.emit("out", String(count));
    },
  },
);

const slow = defineNode(
  {
    name: "conformance_slow",
    inputs: text,
    outputs: out,
    config: z.object({ milliseconds: z.number().int().min(0).default(50) }),
  },
  {
    async process({ text }, { config, signal }) {
      await pause(config.milliseconds, undefined, { signal });
      return { out: text };
    },
  },
);

const fail = defineNode(
  { name: "conformance_fail", inputs: text, outputs: out },
  {
    process({ text }) {
      if (text === "fail") throw new Error("conformance_fail got the text that it fails at");
      return { out: text };
    },
  },
);

const first = defineNode(
  {
    name: "conformance_first",
    inputs: text,
    outputs: out,
    config: z.object({ count: z.number().int().min(1).default(1) }),
  },
  {
    async run(inputs, outputs, { config }) {
      let left = config.count;
      for await (const text of inputs.port("text")) {
        await outputs.emit("out", text);
        left -= 1;
        if (left === 0) return;
      }
    },
  },
);

const ports = <P>(made: (lane: LaneType) => [string, P]): Record<string, P> => Object.fromEntries(LANE_TYPES.map(made));

const values: NodeType = defineNode(
  {
    name: "conformance_values",
    inputs: ports((lane) => [lane, { lane, required: false }]),
    outputs: ports<OutputPort>((lane) => [`out_${lane}`, lane]),
  },
  {
    async run(inputs, outputs) {
      for await (const { port, value } of inputs.any()) await outputs.emit(`out_${port}`, value as never);
    },
  },
);

const pieces = defineNode(
  { name: "conformance_pieces", inputs: text, outputs: { out: { lane: "text", pieces: true } } },
  {
    *generate({ text }) {
      for (const character of text) {
        yield { out: character };
        if (text === "fail") throw new Error("conformance_pieces got the text that it fails at");
      }
    },
  },
);

const whole = defineNode(
  { name: "conformance_whole", inputs: { text: { lane: "text", whole: true } }, outputs: out },
  { process: ({ text }) => ({ out: text }) },
);

/** All of them. */
export const nodes = [echo, source, sink, count, slow, fail, first, values, pieces, whole];
