import assert from "node:assert/strict";
import { test } from "node:test";
import { findHoldup, waitsFor } from "../src/run/holdup.ts";
import { MOST_BLOCKS, TEXTS_OF_BLOCK } from "../src/run/outputs.ts";
import { RunModel } from "../src/run/run_model.ts";
import type { Update } from "../src/app/types.ts";

/** Updates in order, one every tenth of a second. */
class Feed {
  readonly model = new RunModel("run-1");
  private sequence = 0;

  add(fields: Record<string, unknown>): Update {
    this.sequence++;
    const time = new Date(1_700_000_000_000 + this.sequence * 100).toISOString();
    const update = { sequence: this.sequence, time, ...fields } as unknown as Update;
    this.model.fold(update);
    return update;
  }

  running(...names: string[]): void {
    const edges = names.slice(1).map((name, index) => ({
      edge: `${names[index]}.out>${name}.in`,
      ...{ producer: names[index], output: "out", consumer: name, input: "in", lane: "text" },
    }));
    const placements = names.map((name) => ({ component: name, provider: "kind", server: "here" }));
    this.add({ update: "job", run_id: "run-1", state: "running", edges, placements });
    for (const name of names) this.add({ update: "node", component: name, state: "running", firings: 0 });
  }

  edge(producer: string, consumer: string, buffered: number): void {
    const counts = { sent: 100, consumed: 100 - buffered, buffered, drained: false, limit_items: 10 };
    this.add({ update: "edge", edge: `${producer}.out>${consumer}.in`, ...counts });
  }
}

test("an update that comes again counts once", () => {
  const feed = new Feed();
  const update = feed.add({ update: "output", component: "out", port: "text", lane: "text", value: "a", group: "g" });
  feed.model.fold(update);
  feed.add({ update: "output", component: "out", port: "text", lane: "text", value: "b", group: "g" });
  const [stream] = feed.model.outputs.values();
  assert.equal(stream!.count, 2);
  assert.equal(stream!.blocks.length, 1);
  assert.equal(stream!.blocks[0]!.kind === "text" && stream!.blocks[0]!.text, "ab");
});

test("texts that are no pieces of a whole are paragraphs, and the oldest are dropped", () => {
  const feed = new Feed();
  const count = MOST_BLOCKS * TEXTS_OF_BLOCK * 2;
  for (let n = 0; n < count; n++) feed.add({ update: "output", component: "out", port: "text", lane: "text", value: String(n) });
  const [stream] = feed.model.outputs.values();
  assert.ok(stream!.blocks.length <= MOST_BLOCKS * 1.25);
  assert.ok(stream!.dropped > 0);
  const last = stream!.blocks.at(-1)!;
  assert.equal(last.kind === "text" && last.text.split("\n\n").at(-1), String(count - 1));
});

test("a log is bounded, and what was dropped is counted", () => {
  const feed = new Feed();
  for (let n = 0; n < 10_000; n++) feed.add({ update: "log", component: "a", level: "info", message: String(n) });
  const { log } = feed.model;
  assert.equal(log.length + log.dropped, 10_000);
  assert.ok(log.length <= 1_250);
  assert.equal(log.last()!.message, "9999");
});

test("a result is joined with its call", () => {
  const feed = new Feed();
  feed.add({ update: "tool", component: "agent", wave: 1, event: "thought", text: "I " });
  feed.add({ update: "tool", component: "agent", wave: 1, event: "thought", text: "think." });
  feed.add({ update: "tool", component: "agent", wave: 1, event: "call", call_id: "1", tool: "add", arguments: { a: 1 } });
  feed.add({ update: "tool", component: "agent", wave: 1, event: "result", call_id: "1", tool: "add", content: 2, is_error: false, seconds: 1 });
  const [thought, call] = feed.model.tools.all();
  assert.equal(thought!.text, "I think.");
  assert.deepEqual(call!.result, { content: 2, isError: false, seconds: 1 });
});

test("the node behind the last full lane holds up the run", () => {
  const feed = new Feed();
  feed.running("a", "b", "slow", "d");
  assert.equal(findHoldup(feed.model), undefined);
  for (let n = 0; n < 10; n++) {
    feed.edge("a", "b", 10);
    feed.edge("b", "slow", 9);
    feed.edge("slow", "d", 0);
  }
  const found = findHoldup(feed.model)!;
  assert.equal(found.node, "slow");
  assert.deepEqual(found.edges, ["b.out>slow.in"]);
  assert.deepEqual(waitsFor(feed.model, feed.model.nodes.get("b")!), ["capacity of the lane to slow"]);
  assert.deepEqual(waitsFor(feed.model, feed.model.nodes.get("slow")!), []);
  assert.match(found.evidence.join(" "), /lane out from b is full.*b, a wait for it/);
});

test("an approval that waits comes before all else", () => {
  const feed = new Feed();
  feed.running("a", "b");
  for (let n = 0; n < 10; n++) feed.edge("a", "b", 10);
  feed.add({ update: "approval", component: "a", call_id: "1", state: "requested", tool: "mail.send" });
  assert.match(findHoldup(feed.model)!.title, /a waits for your decision/);
  feed.add({ update: "approval", component: "a", call_id: "1", state: "approved" });
  assert.equal(findHoldup(feed.model)!.node, "b");
  assert.equal([...feed.model.approvals.values()][0]!.tool, "mail.send");
});

test("helpers, which report no states, end with the run", () => {
  const feed = new Feed();
  const edges = [{ edge: "agent>llm:llm", producer: "agent", consumer: "llm", class_type: "llm" }];
  feed.add({ update: "job", run_id: "run-1", state: "running", edges });
  assert.equal(feed.model.nodes.get("llm")!.state, "running");
  feed.add({ update: "job", run_id: "run-1", state: "completed" });
  assert.equal(feed.model.nodes.get("llm")!.state, "completed");
});

test("the record of an ended run is not its last update", () => {
  const feed = new Feed();
  feed.model.describe({ run_id: "run-1", state: "completed" });
  feed.add({ update: "output", component: "out", port: "text", lane: "text", value: "a" });
  assert.equal(feed.model.complete, false);
  feed.add({ update: "job", run_id: "run-1", state: "completed" });
  assert.equal(feed.model.complete, true);
});
