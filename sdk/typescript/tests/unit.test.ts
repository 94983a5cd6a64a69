import { expect, test } from "vitest";
import { decodeTyped, encodeTyped } from "../src/codec.js";
import { Code, fromThrown, LanemeshError } from "../src/errors.js";
import { answer, data, defineNode, document, type Group, image, question, table, tags, text } from "../src/index.js";
import { readJson, writeJson } from "../src/json.js";
import { Assembler } from "../src/lanes/assembler.js";
import { GroupOrder } from "../src/lanes/group-order.js";
import { OnAny, ZipAll } from "../src/node/policies.js";
import { secretsOf } from "../src/server/secrets.js";

test("JSON: 64-bit integers are exact, and what JSON lacks is refused", () => {
  const exact = '[9223372036854775807,-9223372036854775808,9007199254740993,1,1.5,"9007199254740993"]';
  expect(writeJson(readJson(exact))).toBe(exact);
  expect(writeJson(1e20)).toBe("1e+20");
  expect(readJson("1e20")).toBe(1e20);
  for (const wrong of [Number.NaN, Number.POSITIVE_INFINITY, 2n ** 63n, new Map(), () => 1, undefined]) {
    expect(() => writeJson(wrong)).toThrow(LanemeshError);
  }
  let deep: unknown = 1;
  for (let level = 0; level < 200; level++) deep = [deep];
  expect(() => writeJson(deep)).toThrow("100 levels");
});

test("values of every lane type pass unchanged", () => {
  const values = [
    text("häß"),
    data({ a: [1n << 60n, null, true] }),
    tags({ k: "v" }),
    question({ text: "why?", history: [{ role: "user", content: "hi" }], schema: { type: "object" } }),
    answer({ text: "so", finishReason: "stop", usage: { promptTokens: 1n, completionTokens: 2n, toolCalls: 0n } }),
    document({ content: "c", id: "i", score: 0, chunkIndex: 0n, metadata: { n: 1 } }),
    table(["a", "b"], [[1, "x"]]),
    image({ mimeType: "image/png", content: new Uint8Array([1, 2]), width: 1, height: 2, rate: 0, channels: 0 }),
  ];
  for (const value of values) expect(decodeTyped(encodeTyped(value, "test"))).toEqual(value);
});

test("values that a lane cannot carry name their place", () => {
  expect(() => encodeTyped({ lane: "text", value: 7 as never }, "n.out")).toThrow("n.out emitted");
  expect(() => encodeTyped(table(["a"], [[1, 2]]), "n.out")).toThrow("2 cells");
  expect(() => encodeTyped(image({ mimeType: "image/png" }), "n.out")).toThrow("`content` or `uri`");
  expect(() => encodeTyped(text("x".repeat(17 * 1024 * 1024)), "n.out")).toThrow("the limit is");
});

test("errors keep what was thrown", () => {
  const error = fromThrown(new RangeError("too far"), { component: "c" });
  expect(error).toMatchObject({
    code: Code.Unknown,
    reason: "node-error",
    message: "RangeError: too far",
    component: "c",
  });
  expect(error.traceback).toContain("unit.test.ts");
  expect(fromThrown("text").message).toBe("string: text");
});

const ports = (heads: Record<string, number | undefined>, ended: string[] = []) =>
  new Map(Object.entries(heads).map(([name, head]) => [name, { head, ended: ended.includes(name) }]));

test("on_any: the first firing waits for every required input, then each item fires", () => {
  const policy = new OnAny(new Set(["a"]));
  expect(policy.decide(ports({ a: undefined, b: 1 }))).toBe("wait");
  expect(policy.decide(ports({ a: 3, b: 1 }))).toEqual({ take: ["a", "b"] });
  expect(policy.decide(ports({ a: 5, b: 4 }))).toEqual({ take: ["b"] });
  expect(policy.decide(ports({ a: undefined, b: undefined }, ["a", "b"]))).toEqual({ done: true });
  const empty = new OnAny(new Set(["a"]));
  expect(empty.decide(ports({ a: undefined, b: 1 }, ["a"]))).toEqual({ done: true, skippedFor: "a" });
});

test("zip_all: lockstep, with inputs of a single item reused", () => {
  const policy = new ZipAll(new Set(["one"]), new Set(["one", "many"]));
  expect(policy.decide(ports({ one: 1, many: undefined }))).toBe("wait");
  expect(policy.decide(ports({ one: 1, many: 2 }))).toEqual({ take: ["many", "one"] });
  expect(policy.decide(ports({ one: undefined, many: 3 }, ["one"]))).toEqual({ take: ["many"] });
  expect(policy.decide(ports({ one: undefined, many: undefined }, ["many"]))).toEqual({ done: true });
});

const group = (id: string, index: number, last = false, outcome: Group["outcome"] = "ok"): Group => ({
  ...{ id, index: BigInt(index), last, outcome },
});

test("groups pass one after the other", () => {
  const order = new GroupOrder<string>();
  expect(order.put("e", group("g", 0), "a")).toEqual(["a"]);
  expect(order.put("e", group("h", 0), "x")).toEqual([]);
  expect(order.put("f", undefined, "z")).toEqual([]);
  expect(order.put("e", group("g", 1, true), "b")).toEqual(["b", "x"]);
  expect(order.put("e", group("h", 1, true), "y")).toEqual(["y", "z"]);
});

test("wholes are assembled by edge and group, and dropped if their group has failed", () => {
  const assembler = new Assembler("text");
  const put = (source: string, value: string, mark: Group) =>
    assembler.put(source, { value, size: 17, envelope: { group: mark } })?.value;
  expect(put("e", "a", group("g", 0))).toBeUndefined();
  expect(put("f", "x", group("g", 0))).toBeUndefined();
  expect(put("e", "b", group("g", 1, true))).toBe("ab");
  expect(put("f", "y", group("g", 1, true, "error"))).toBeUndefined();
  expect(assembler.takeDropped()).toBe(1);
  expect(put("e", "c", group("h", 0))).toBeUndefined();
  expect(assembler.end("e", true).map((item) => item.value)).toEqual(["c"]);
});

test("node types whose parts contradict each other are refused", () => {
  const spec = { name: "n", inputs: { text: "text" }, outputs: { out: "text" } } as const;
  expect(() => defineNode(spec, {})).toThrow("needs one");
  expect(() => defineNode({ ...spec, name: "Not Snake" }, { process: () => undefined })).toThrow("snake_case");
  const list = { ...spec, inputs: { text: { lane: "text", list: true } } } as const;
  expect(() => defineNode(list, { run: () => {} })).toThrow("list");
});

test("secrets occur in no report", () => {
  const instance = { configJson: '{"key": {"a/b": ["s3cret"]}}', secretPointers: ["/key/a~1b/0"] };
  const secrets = secretsOf([instance as never]);
  expect(secrets.hide("it is s3cret")).toBe("it is ***");
  const error = new LanemeshError({ code: Code.Unknown, reason: "r", message: "s3cret", traceback: "at s3cret" });
  expect(secrets.hideIn(error)).toMatchObject({ message: "***", traceback: "at ***" });
});
