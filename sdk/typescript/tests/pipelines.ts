/** Pipelines of tests. */

import type { LaneType } from "../src/index.js";

const SOURCES: Partial<Record<LaneType, string>> = { text: "chat", questions: "chat" };
const OUTPUTS: Record<string, LaneType> = { parrot: "answers", answer_ts: "answers", whole_ts: "text" };

/** Pipeline: a source that clients feed, one node after the other with one input and one output, and a response. */
export function chain(lane: LaneType, ...nodes: (string | Record<string, unknown>)[]) {
  const components: Record<string, unknown>[] = [{ id: "source", provider: SOURCES[lane] ?? "webhook" }];
  let from = "source";
  let last = lane;
  for (const node of nodes) {
    if (typeof node !== "string") {
      Object.assign(components.at(-1) ?? {}, { config: node });
      continue;
    }
    const id = components.length === 1 ? "node" : `node_${components.length}`;
    components.push({ id, provider: node, input: [{ lane: last, from }] });
    from = id;
    last = OUTPUTS[node] ?? last;
  }
  components.push({ id: "out", provider: "response", config: { lane: last }, input: [{ lane: last, from }] });
  return { components, version: 1 };
}
