/** Where nodes and edges are drawn. dagre places them by the direction of the lanes. */
import { graphlib, layout as place } from "@dagrejs/dagre";
import type { RunModel } from "./run_model.ts";

export type Direction = "LR" | "TB";

export interface Box {
  x: number;
  y: number;
  width: number;
  height: number;
}

export interface EdgeLine {
  path: string;
  /** Where its label is drawn: the middle. */
  x: number;
  y: number;
}

export interface Layout {
  width: number;
  height: number;
  nodes: Map<string, Box>;
  edges: Map<string, EdgeLine>;
}

interface Point {
  x: number;
  y: number;
}

const NODE_HEIGHT = 62;
const LABEL = { width: 74, height: 22 };
const MARGIN = 16;
/** Above this many edges labels get no place of their own, so that large graphs stay compact. */
const MOST_LABELS = 60;

export function nodeWidth(id: string, provider: string): number {
  return Math.min(240, Math.max(132, 48 + 7.6 * id.length, 88 + 6.4 * provider.length));
}

export function layoutOf(model: RunModel, direction: Direction): Layout {
  const graph = new graphlib.Graph({ multigraph: true });
  const dense = model.edges.size > MOST_LABELS;
  graph.setGraph({ rankdir: direction, nodesep: dense ? 16 : 26, ranksep: dense ? 60 : 46, edgesep: 14, marginx: MARGIN, marginy: MARGIN });
  graph.setDefaultEdgeLabel(() => ({}));
  for (const node of model.nodes.values()) {
    graph.setNode(node.id, { width: nodeWidth(node.id, node.provider), height: NODE_HEIGHT });
  }
  for (const edge of model.edges.values()) {
    const label = edge.shape.class_type ? { width: 44, height: 18, weight: 1 } : { ...LABEL, weight: 4 };
    graph.setEdge(edge.shape.producer, edge.shape.consumer, dense ? { weight: label.weight } : { ...label, labelpos: "c" }, edge.id);
  }
  place(graph);
  return read(graph, model);
}

function read(graph: graphlib.Graph, model: RunModel): Layout {
  const nodes = new Map<string, Box>();
  for (const id of model.nodes.keys()) {
    const { x, y, width, height } = graph.node(id) as Box;
    nodes.set(id, { x: x - width / 2, y: y - height / 2, width, height });
  }
  const edges = new Map<string, EdgeLine>();
  for (const edge of model.edges.values()) {
    const { points } = graph.edge(edge.shape.producer, edge.shape.consumer, edge.id) as { points: Point[] };
    edges.set(edge.id, { path: curve(points), ...middle(points) });
  }
  const size = graph.graph() as { width?: number; height?: number };
  return { width: Math.max(160, size.width ?? 0), height: Math.max(80, size.height ?? 0), nodes, edges };
}

/** A smooth line through the points: quadratic curves that meet halfway between them. */
function curve(points: Point[]): string {
  const [first, ...rest] = points;
  if (!first) return "";
  const part = (value: number): string => value.toFixed(1);
  let path = `M${part(first.x)} ${part(first.y)}`;
  for (let index = 0; index < rest.length - 1; index++) {
    const [here, next] = [rest[index]!, rest[index + 1]!];
    const last = index === rest.length - 2;
    const to = last ? next : { x: (here.x + next.x) / 2, y: (here.y + next.y) / 2 };
    path += `Q${part(here.x)} ${part(here.y)} ${part(to.x)} ${part(to.y)}`;
  }
  if (rest.length === 1) path += `L${part(rest[0]!.x)} ${part(rest[0]!.y)}`;
  return path;
}

function middle(points: Point[]): Point {
  const half = points[Math.floor(points.length / 2)] ?? { x: 0, y: 0 };
  return { x: half.x, y: half.y };
}
