import assert from "node:assert/strict";
import { test } from "node:test";
import type { JsonSchema, NodeType } from "../src/app/catalogue.ts";
import type { PipelineDocument } from "../src/app/types.ts";
import { withComponent, withConnection, withId, withoutComponent, withoutConnection, withPositions, withValue } from "../src/editor/changes.ts";
import { pipelineSchema } from "../src/editor/entry_schemas.ts";
import { defaultWords, fieldOf, numberOf } from "../src/editor/fields.ts";
import { History } from "../src/editor/history.ts";
import { documentText, rewritten } from "../src/editor/json_text.ts";
import { framesOf } from "../src/editor/placement.ts";
import { freeId, partsOf, positionsOf } from "../src/editor/pipeline_parts.ts";
import { sourceOf, sourcesOf } from "../src/editor/sources.ts";
import { catalogueOf, Wiring, type NodePort } from "../src/editor/ports.ts";

const TEXT = `{
    "project_id": "p", "big": 12345678901234567890, "ratio": 1.0,
    "components": [
        {"id": "chat_1", "provider": "chat", "note": {"kept":  true}},
        {
            "id": "agent_1", "provider": "agent",
            "input": [{"lane": "questions",   "from": "chat_1"}]
        },
        {"id": "llm_1", "provider": "llm", "control": [{"classType": "llm", "from": "agent_1"}]},
        {"id": "out", "provider": "response", "join_on": "agent_1.answers", "input": [{"lane": "answers", "from": "agent_1"}]}
    ],
    "source": "chat_1"
}
`;
const DOCUMENT = JSON.parse(TEXT) as PipelineDocument;

const TYPES: NodeType[] = [
  { provider: "chat", boundary: "source", outputs: [{ name: "questions", lane: "questions" }, { name: "text", lane: "text" }] },
  {
    provider: "agent",
    inputs: [{ name: "questions", lane: "questions", required: true }],
    outputs: [{ name: "answers", lane: "answers" }, { name: "text", lane: "text" }],
    invokes: [{ class_type: "llm", min: 1, max: 1 }, { class_type: "tool" }],
    offers: ["tool"],
  },
  { provider: "llm", inputs: [{ name: "questions", lane: "questions" }], outputs: [{ name: "answers", lane: "answers" }], offers: ["llm"] },
  { provider: "pair", inputs: [{ name: "left", lane: "text" }, { name: "right", lane: "text" }], outputs: [{ name: "words", lane: "text" }, { name: "sizes", lane: "text" }] },
  { provider: "response", boundary: "target", aliases: ["response_text"], profiles: { response_text: { lane: "text" } }, inputs: [{ name: "items" }] },
];
const CATALOGUE = catalogueOf(TYPES);

const names = (ports: NodePort[]): string[] => ports.map((one) => `${one.component}.${one.name || one.kind}`);

function start(wiring: Wiring, component: string, name: string): NodePort {
  return wiring.starts(component).find((one) => one.name === name)!;
}

test("a change keeps the text of what has not changed", () => {
  const after = withValue(DOCUMENT, "/components/0/config/limit", 3);
  const text = rewritten(TEXT, DOCUMENT, after);
  assert.deepEqual(JSON.parse(text), JSON.parse(TEXT.replace('{"kept":  true}', '{"kept": true}, "config": {"limit": 3}')));
  const lines = text.split("\n");
  assert.ok(text.includes("12345678901234567890") && text.includes("1.0"), "digits are kept");
  assert.ok(lines.includes(TEXT.split("\n")[6]!), "the layout of other components is kept");
  assert.ok(text.includes('{"kept":  true}'), "unknown fields keep their text");
});

test("what is taken back leaves the text as it was", () => {
  const moved = withPositions(DOCUMENT, new Map([["out", { x: 10.4, y: -3.6 }]]));
  const text = rewritten(TEXT, DOCUMENT, moved);
  assert.deepEqual((JSON.parse(text) as { ui: unknown }).ui, { positions: { out: { x: 10, y: -4 } } });
  const back = withValue(moved, "/ui/positions/out", undefined);
  assert.deepEqual(JSON.parse(rewritten(text, moved, back)), DOCUMENT);
});

test("removing the first of a list keeps the text of the others", () => {
  const text = rewritten(TEXT, DOCUMENT, withoutComponent(DOCUMENT, "chat_1"));
  assert.ok(text.includes('{"id": "llm_1", "provider": "llm", "control": [{"classType": "llm", "from": "agent_1"}]}'));
  const left = JSON.parse(text) as PipelineDocument;
  assert.deepEqual(left.components.map((one) => one.id), ["agent_1", "llm_1", "out"]);
  assert.equal(left.components[0]!.input, undefined, "edges of the removed node go with it");
  assert.equal(left.source, undefined);
});

test("a new document is written with a component on each line", () => {
  const document = withComponent(withComponent({ name: "", components: [] }, { id: "a", provider: "chat" }), { id: "b", provider: "llm" });
  assert.equal(documentText(document), '{\n  "name": "",\n  "components": [\n    {"id": "a", "provider": "chat"},\n    {"id": "b", "provider": "llm"}\n  ]\n}\n');
  const empty = documentText({ components: [] });
  const added = rewritten(empty, { components: [] }, document);
  assert.deepEqual(JSON.parse(added), document);
});

test("a new id stands wherever the old one was named", () => {
  const renamed = withId(withPositions(DOCUMENT, new Map([["agent_1", { x: 1, y: 2 }]])), "agent_1", "boss");
  assert.ok(!JSON.stringify(renamed).includes("agent_1"));
  assert.deepEqual(positionsOf(renamed).get("boss"), { x: 1, y: 2 });
  assert.equal(withId(DOCUMENT, "chat_1", "c").source, "c");
});

test("only what fits is offered", () => {
  const wiring = new Wiring(withoutConnection(DOCUMENT, "/components/3/input/0"), CATALOGUE);
  assert.deepEqual(names(wiring.targets(start(wiring, "agent_1", "answers"))), ["out.items"]);
  assert.deepEqual(names(wiring.targets(start(wiring, "chat_1", "questions"))), ["llm_1.questions", "out.items"], "agent_1 is connected already");
  assert.deepEqual(names(wiring.targets(start(wiring, "chat_1", "text"))), ["out.items"]);
});

test("a connection that closes a cycle is not offered", () => {
  const document = withConnection(withComponent(DOCUMENT, { id: "pair_1", provider: "pair", input: [{ lane: "text", from: "pair_2" }] }), "pair_1", "input", { lane: "text", from: "agent_1" });
  const wiring = new Wiring(withComponent(document, { id: "pair_2", provider: "pair" }), CATALOGUE);
  assert.ok(!names(wiring.targets(start(wiring, "pair_1", "words"))).some((one) => one.startsWith("pair_")));
});

test("helpers are offered by their kind, and as many as the node type takes", () => {
  const free = new Wiring(withoutConnection(DOCUMENT, "/components/2/control/0"), CATALOGUE);
  const llm = start(free, "agent_1", "llm");
  assert.deepEqual(names(free.targets(llm)), ["llm_1.helps"]);
  assert.deepEqual(free.entryOf(llm, free.targets(llm)[0]!), { field: "control", entry: { classType: "llm", from: "agent_1" } });
  assert.equal(start(new Wiring(DOCUMENT, CATALOGUE), "agent_1", "llm"), undefined);
});

test("an edge names ports only where the lane does not tell", () => {
  const wiring = new Wiring({ components: [{ id: "a", provider: "pair" }, { id: "b", provider: "pair" }, { id: "c", provider: "chat" }] }, CATALOGUE);
  const [left] = wiring.targets(start(wiring, "a", "sizes"));
  assert.deepEqual(wiring.entryOf(start(wiring, "a", "sizes"), left!).entry, { lane: "text", from: "a", output: "sizes", input: "left" });
  assert.deepEqual(wiring.entryOf(start(wiring, "c", "text"), left!).entry, { lane: "text", from: "c", input: "left" });
});

test("the lane of a target is that of its config or of its alias", () => {
  const wiring = new Wiring({ components: [{ id: "a", provider: "response_text" }, { id: "b", provider: "response", config: { lane: "answers" } }, { id: "c", provider: "chat" }] }, CATALOGUE);
  assert.deepEqual(names(wiring.targets(start(wiring, "c", "text"))), ["a.items"]);
  assert.deepEqual(names(wiring.targets(start(wiring, "c", "questions"))), []);
});

test("a document may be anything", () => {
  for (const components of [undefined, null, 3, [null, 3, { id: 3 }, { id: "a" }, { id: "a" }, { id: "b", input: [null, "x", { from: 3 }], control: {} }]]) {
    const document = { components, ui: { positions: [] } } as unknown as PipelineDocument;
    const wiring = new Wiring(document, CATALOGUE);
    assert.equal(wiring.connections.length, 0);
    assert.equal(framesOf(wiring, positionsOf(document)).size, partsOf(document).length);
    assert.equal(freeId(document, "a b"), "a_b_1");
  }
});

test("nodes without a position are placed apart from those with one", () => {
  const wiring = new Wiring(DOCUMENT, CATALOGUE);
  const frames = framesOf(wiring, new Map([["out", { x: 500, y: 900 }]]));
  assert.deepEqual([frames.get("out")!.x, frames.get("out")!.y], [500, 900]);
  for (const id of ["chat_1", "agent_1", "llm_1"]) assert.ok(frames.get(id)!.y > 900);
  assert.ok(frames.get("llm_1")!.y > frames.get("agent_1")!.y, "a helper stands below what calls it");
});

test("a component that has a position of its own keeps it there", () => {
  const document = { components: [{ id: "a", provider: "x", ui: { position: { x: 1, y: 2, z: 3 } } }] };
  const moved = withPositions(document, new Map([["a", { x: 5, y: 6 }]]));
  assert.deepEqual(moved, { components: [{ id: "a", provider: "x", ui: { position: { x: 5, y: 6, z: 3 } } }] });
});

test("changes of one place shortly after each other are one step", () => {
  const history = new History();
  history.note("a", "x", 0);
  history.note("ab", "x", 100);
  history.note("abc", "y", 200);
  assert.equal(history.undo("abcd"), "abc");
  assert.equal(history.undo("abc"), "a");
  assert.equal(history.undo("a"), undefined);
  assert.equal(history.redo("a"), "abc");
  history.note("abc", "", 300);
  assert.equal(history.canRedo, false);
});

test("the history is bounded", () => {
  const history = new History();
  for (let step = 0; step < 1_000; step++) history.note(String(step), "", step);
  let steps = 0;
  while (history.undo("x") !== undefined) steps++;
  assert.equal(steps, 300);
});

test("fields suit their schemas", () => {
  const root: JsonSchema = { $defs: { Inner: { type: "object", properties: { a: { type: "string" } } } } };
  const kind = (schema: JsonSchema, value?: unknown): string => fieldOf(schema, root, value).kind;
  const nothing: JsonSchema = { type: "null" };
  assert.equal(kind({ anyOf: [{ type: "integer" }, nothing] }), "number");
  assert.equal(kind({ anyOf: [{ type: "string", format: "password", writeOnly: true }, nothing] }), "secret");
  assert.equal(kind({ $ref: "#/$defs/Inner" }), "object");
  assert.equal(kind({ $ref: "#/$defs/Inner" }, "text"), "json");
  assert.equal(kind({ type: "array", items: { type: "string" } }), "list");
  assert.equal(kind({ type: "array", items: { $ref: "#/$defs/Inner" } }), "json");
  const either: JsonSchema = { anyOf: [{ type: "string" }, { type: "array", items: { type: "string" } }] };
  assert.equal(kind(either), "text");
  assert.equal(kind(either, ["a"]), "list");
  assert.equal(kind(either, { a: 1 }), "json");
  assert.equal(kind({ type: "object" }), "json");
  assert.deepEqual(fieldOf({ anyOf: [{ enum: ["a", "b"] }, nothing] }, root, undefined).options, ["a", "b"]);
});

test("a text in a field of numbers is a number if it is one", () => {
  assert.deepEqual([numberOf(" 1.50 "), numberOf(""), numberOf("abc"), numberOf("Infinity")], [1.5, undefined, "abc", "Infinity"]);
  assert.equal(defaultWords({ default: 60 }), "60");
  assert.equal(defaultWords({ default: null }), "");
});

test("a run takes the chosen source, of several", () => {
  const types = catalogueOf([...TYPES, { provider: "timer", outputs: [{ name: "text", lane: "text" }] }]);
  const document: PipelineDocument = { components: [{ id: "timer_1", provider: "timer" }, ...DOCUMENT.components, { id: "chat_2", provider: "chat" }] };
  const sources = sourcesOf(document, (provider) => types.get(provider));
  assert.deepEqual(sources, [{ id: "timer_1", fed: false }, { id: "chat_1", fed: true }, { id: "chat_2", fed: true }]);
  assert.equal(sourceOf(sources, document, "")?.id, "chat_1");
  assert.equal(sourceOf(sources, { ...document, source: "chat_2" }, "")?.id, "chat_2");
  assert.equal(sourceOf(sources, { ...document, source: "chat_2" }, "timer_1")?.id, "timer_1");
  assert.equal(sourceOf(sources, document, "gone")?.id, "chat_1");
  assert.deepEqual(pipelineSchema(["a", "b"]).properties?.["source"]?.enum, ["a", "b"]);
  assert.equal(pipelineSchema(["a"]).properties?.["source"]?.enum, undefined);
});
