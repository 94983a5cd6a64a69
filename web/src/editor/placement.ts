/** Where nodes are drawn: where the document places them, else where dagre does. */
import { graphlib, layout as place } from "@dagrejs/dagre";
import type { Point } from "./pipeline_parts.ts";
import type { NodePort, Wiring } from "./ports.ts";

export interface Frame extends Point {
  width: number;
  height: number;
}

const HEAD = 46;
const ROW = 22;
const GAP = 56;

/** The size of a node: its head, a row for each pair of ports, and a row for its helpers. */
export function sizeOf(ports: readonly NodePort[], id: string, provider: string): { width: number; height: number } {
  const of = (kind: NodePort["kind"]): NodePort[] => ports.filter((one) => one.kind === kind);
  const longest = (list: NodePort[]): number => Math.max(0, ...list.map((one) => one.name.length));
  const rows = Math.max(of("input").length, of("output").length);
  const names = 44 + 6.6 * (longest(of("input")) + longest(of("output")));
  const helpers = of("invokes").reduce((sum, one) => sum + 26 + 7 * one.name.length, 12);
  const width = Math.min(320, Math.max(156, 44 + 7.8 * id.length, 30 + 6.4 * provider.length, names, helpers));
  return { width: Math.round(width), height: HEAD + ROW * rows + (of("invokes").length ? ROW : 0) + 8 };
}

/** The place of a port, from the top left corner of its node. */
export function portPlace(ports: readonly NodePort[], port: NodePort, size: { width: number; height: number }): Point {
  const same = ports.filter((one) => one.kind === port.kind);
  const index = same.findIndex((one) => one.name === port.name);
  if (port.kind === "helps") return { x: size.width / 2, y: 0 };
  if (port.kind === "invokes") return { x: (size.width / (same.length + 1)) * (index + 1), y: size.height };
  return { x: port.kind === "input" ? 0 : size.width, y: HEAD + ROW * index + ROW / 2 };
}

/** All nodes by dagre: lanes from left to right, helpers below those that call them. */
export function arranged(wiring: Wiring): Map<string, Frame> {
  const graph = new graphlib.Graph({ multigraph: true });
  graph.setGraph({ rankdir: "LR", nodesep: 36, ranksep: 78, marginx: 24, marginy: 24 });
  graph.setDefaultEdgeLabel(() => ({}));
  for (const { id, provider } of wiring.parts) graph.setNode(id, sizeOf(wiring.ports.get(id) ?? [], id, provider));
  const helpers = new Map<string, string>();
  for (const one of wiring.connections) if (one.kind === "control" && one.from !== one.to) helpers.set(one.to, one.from);
  for (const one of wiring.connections) {
    if (one.kind === "lane" && graph.hasNode(one.from) && one.from !== one.to) graph.setEdge(one.from, one.to, {}, one.pointer);
  }
  for (const id of helpers.keys()) if ((graph.nodeEdges(id) ?? []).length) helpers.delete(id);
  for (const id of helpers.keys()) graph.removeNode(id);
  place(graph);
  const frames = new Map<string, Frame>();
  for (const id of graph.nodes()) {
    const { x, y, width, height } = graph.node(id) as Frame;
    frames.set(id, { x: x - width / 2, y: y - height / 2, width, height });
  }
  hang(wiring, helpers, frames);
  return frames;
}

/** Places helpers below what calls them, side by side, and those of helpers below these. */
function hang(wiring: Wiring, helpers: Map<string, string>, frames: Map<string, Frame>): void {
  const waiting = new Map(helpers);
  for (let left = -1; waiting.size && left !== waiting.size; ) {
    left = waiting.size;
    const ready = [...waiting].filter(([, caller]) => frames.has(caller));
    if (!ready.length) break;
    const bottom = Math.max(...[...frames.values()].map((one) => one.y + one.height)) + GAP;
    let edge = -Infinity;
    for (const caller of new Set(ready.map(([, one]) => one))) {
      const sizes = ready.filter(([, one]) => one === caller).map(([id]) => ({ id, ...sizeIn(wiring, id) }));
      const total = sizes.reduce((sum, one) => sum + one.width + 24, -24);
      const above = frames.get(caller)!;
      let x = Math.max(edge + 24, above.x + above.width / 2 - total / 2);
      for (const { id, width, height } of sizes) {
        frames.set(id, { x, y: bottom, width, height });
        waiting.delete(id);
        edge = x + width;
        x = edge + 24;
      }
    }
  }
  for (const id of waiting.keys()) frames.set(id, { x: 24, y: 24, ...sizeIn(wiring, id) }); // helpers that call each other
}

function sizeIn(wiring: Wiring, id: string): { width: number; height: number } {
  return sizeOf(wiring.ports.get(id) ?? [], id, wiring.parts.find((one) => one.id === id)?.provider ?? "");
}

/** Nodes with a position stand there; the others are arranged, below the former. */
export function framesOf(wiring: Wiring, positions: ReadonlyMap<string, Point>): Map<string, Frame> {
  const missing = wiring.parts.filter((one) => !positions.has(one.id));
  const free = missing.length ? arranged(wiring) : new Map<string, Frame>();
  const frames = new Map<string, Frame>();
  let below = 0;
  for (const { id } of wiring.parts) {
    const at = positions.get(id);
    if (!at) continue;
    const size = sizeIn(wiring, id);
    frames.set(id, { ...at, ...size });
    below = Math.max(below, at.y + size.height + GAP);
  }
  const top = Math.min(...missing.map((one) => free.get(one.id)?.y ?? 0));
  for (const { id } of missing) {
    const frame = free.get(id);
    if (frame) frames.set(id, frames.size && positions.size ? { ...frame, y: frame.y - top + below } : frame);
  }
  return frames;
}

/** Where a new node stands free: at the point, or below what is there. */
export function freePlace(frames: Iterable<Frame>, at: Point, size: { width: number; height: number }): Point {
  const others = [...frames];
  const place = { ...at };
  for (let tries = 0; tries < 200; tries++) {
    const hit = others.find((one) => place.x < one.x + one.width + 16 && one.x < place.x + size.width + 16 && place.y < one.y + one.height + 16 && one.y < place.y + size.height + 16);
    if (!hit) break;
    place.y = hit.y + hit.height + 28;
  }
  return place;
}
