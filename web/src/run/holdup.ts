/** Which node holds up a run, and the evidence for it. Pure: it reads the model alone. */
import { grouped } from "../app/grouped.ts";
import { count, percent, plural, rate } from "../app/format.ts";
import type { EdgeModel, NodeModel, RunModel } from "./run_model.ts";

/** From this fill on a lane counts as full: its producer is about to wait, or waits. */
const FULL = 0.8;
const BUSY = 0.8;
/** Seconds of the timeline that count as now. */
const WINDOW = 5;

export interface Holdup {
  node: string;
  title: string;
  evidence: string[];
  /** The edges that show it. */
  edges: string[];
}

export const fillOf = (edge: EdgeModel): number => (edge.limit && !edge.drained ? Math.min(1, edge.buffered / edge.limit) : 0);

/** The node that holds up a running run; undefined if none does. */
export function findHoldup(model: RunModel): Holdup | undefined {
  if (model.state !== "running") return undefined;
  return waitingApproval(model) ?? waitingOutside(model) ?? slowNode(model) ?? stalled(model) ?? busiest(model);
}

export const isOver = (node: NodeModel): boolean => !["starting", "running", "waiting"].includes(node.state);

function waitingApproval(model: RunModel): Holdup | undefined {
  for (const approval of model.approvals.values()) {
    if (approval.state !== "requested") continue;
    const what = approval.tool ? `to call ${approval.tool}` : approval.description || "to go on";
    return { node: approval.component, title: `${approval.component} waits for your decision`, evidence: [`It asks ${what}.`], edges: [] };
  }
  return undefined;
}

function waitingOutside(model: RunModel): Holdup | undefined {
  for (const node of model.nodes.values()) {
    if (node.state !== "waiting") continue;
    const evidence = [node.detail || "It waits for something outside the run.", ...waiters(model, node.id)];
    return { node: node.id, title: `${node.id} waits`, evidence, edges: [] };
  }
  return undefined;
}

/** A node whose inputs are full while its outputs are not. */
function slowNode(model: RunModel): Holdup | undefined {
  const inputs = grouped(lanes(model), (edge) => edge.shape.consumer);
  const outputs = grouped(lanes(model), (edge) => edge.shape.producer);
  let found: { node: NodeModel; full: EdgeModel[]; upstream: number } | undefined;
  for (const [id, edges] of inputs) {
    const node = model.nodes.get(id);
    const full = edges.filter((edge) => edge.fullness >= FULL);
    if (!node || isOver(node) || !full.length) continue;
    if ((outputs.get(id) ?? []).some((edge) => edge.fullness >= FULL)) continue;
    const upstream = blockedUpstream(inputs, id).size;
    if (!found || upstream > found.upstream) found = { node, full, upstream };
  }
  if (!found) return undefined;
  const { node, full } = found;
  const evidence = full.slice(0, 3).map((edge) => {
    const { output, producer } = edge.shape;
    return `Its lane ${output} from ${producer} is full (${count(edge.buffered)} of ${count(edge.limit)}); it takes ${rate(edge.rate)}.`;
  });
  const next = (outputs.get(node.id) ?? []).filter((edge) => !edge.drained);
  if (next.length) evidence.push("The lanes behind it have capacity.");
  evidence.push(...shares(node), ...helperCalls(model, node), ...waiters(model, node.id));
  return { node: node.id, title: `${node.id} holds up the run`, evidence, edges: full.map((edge) => edge.id) };
}

/** The mesh reports which node waits for which one when nothing has moved for a while. */
function stalled(model: RunModel): Holdup | undefined {
  for (const edge of lanes(model)) {
    if (!edge.detail || edge.drained || edge.growths) continue;
    return { node: edge.shape.consumer, title: "Nothing has moved for a while", evidence: [edge.detail], edges: [edge.id] };
  }
  return undefined;
}

function busiest(model: RunModel): Holdup | undefined {
  let most: NodeModel | undefined;
  let share = BUSY;
  for (const node of model.nodes.values()) {
    const busy = isOver(node) ? 0 : (node.timeline.recent(WINDOW)?.busy ?? 0);
    if (busy >= share) [most, share] = [node, busy];
  }
  if (!most) return undefined;
  const evidence = [...shares(most), "No lane is full.", ...helperCalls(model, most)];
  return { node: most.id, title: `${most.id} sets the pace`, evidence, edges: [] };
}

function shares(node: NodeModel): string[] {
  const recent = node.timeline.recent(WINDOW);
  if (!recent || recent.busy + recent.waiting + recent.blocked < 0.1) return [];
  const parts = (["busy", "waiting", "blocked"] as const).filter((kind) => recent[kind] >= 0.01);
  return [`Lately ${parts.map((kind) => `${kind} ${percent(recent[kind])}`).join(", ")} of the time.`];
}

function helperCalls(model: RunModel, node: NodeModel): string[] {
  const active = [...model.edges.values()]
    .filter((edge) => edge.shape.class_type && edge.shape.producer === node.id)
    .map((edge) => model.nodes.get(edge.shape.consumer))
    .filter((helper) => helper?.helper?.active_calls);
  return active.map((helper) => `It waits for ${helper!.id}, which works on ${plural(helper!.helper!.active_calls!, "call")}.`);
}

function waiters(model: RunModel, id: string): string[] {
  const inputs = grouped(lanes(model), (edge) => edge.shape.consumer);
  const names = [...blockedUpstream(inputs, id)];
  if (!names.length) return [];
  const others = names.length > 3 ? ` and ${names.length - 3} more` : "";
  return [`${names.slice(0, 3).join(", ")}${others} ${names.length === 1 ? "waits" : "wait"} for it.`];
}

/** What a node waits for, in words: capacity of its lanes, else items; empty if it works or has ended. */
export function waitsFor(model: RunModel, node: NodeModel): string[] {
  if (isOver(node) || model.state !== "running") return [];
  const outputs = lanes(model).filter((edge) => edge.shape.producer === node.id && edge.fullness >= FULL);
  if (outputs.length) return outputs.map((edge) => `capacity of the lane to ${edge.shape.consumer}`);
  if ((node.timeline.recent(WINDOW)?.waiting ?? 0) < 0.5) return [];
  const inputs = lanes(model).filter((edge) => edge.shape.consumer === node.id && !edge.drained && !edge.buffered);
  return inputs.map((edge) => `items from ${edge.shape.producer}`);
}

/** The producers that wait for a node, directly or through others that wait. */
function blockedUpstream(inputs: Map<string, EdgeModel[]>, id: string): Set<string> {
  const found = new Set<string>();
  const open = [id];
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    for (const edge of inputs.get(next) ?? []) {
      const { producer } = edge.shape;
      if (edge.fullness < FULL || found.has(producer) || producer === id) continue;
      found.add(producer);
      open.push(producer);
    }
  }
  return found;
}

function lanes(model: RunModel): EdgeModel[] {
  return [...model.edges.values()].filter((edge) => !edge.shape.class_type);
}
