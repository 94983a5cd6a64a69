/** A node and an edge of the drawn graph. Each is drawn again only if its model has changed. */
import { Component } from "preact";
import { count, rate } from "../app/format.ts";
import { lookOf } from "../widgets/state_badge.tsx";
import { fillOf } from "./holdup.ts";
import type { Box, EdgeLine } from "./layout.ts";
import type { EdgeModel, NodeModel } from "./run_model.ts";

interface NodeProps {
  node: NodeModel;
  revision: number;
  box: Box;
  selected: boolean;
  holdup: boolean;
  helper: boolean;
  /** The graph is drawn so small that words cannot be read: they are left out. */
  far: boolean;
  onSelect(id: string): void;
}

/** The sign within the circle of a state, as a path. */
const SIGNS: Record<string, string> = {
  completed: "M15 20.2l2.2 2.2 3.8-4.4",
  failed: "M18 16.6v4M18 23.2v.2",
  cancelled: "M15.8 17.8l4.4 4.4M20.2 17.8l-4.4 4.4",
  skipped: "M15.2 20h5.6",
  waiting: "M15.2 20h.1M18 20h.1M20.8 20h.1",
};

function changed<P extends object>(before: P, after: P): boolean {
  return (Object.keys(after) as (keyof P)[]).some((name) => before[name] !== after[name]);
}

export class GraphNode extends Component<NodeProps> {
  override shouldComponentUpdate(next: NodeProps): boolean {
    return changed(this.props, next);
  }

  override render({ node, box, selected, holdup, helper, far, onSelect }: NodeProps) {
    const look = lookOf(node.state);
    const { progress } = node;
    const fraction = progress?.total ? Math.min(1, progress.done / progress.total) : undefined;
    const work = workOf(node);
    const id = fitted(node.id, box.width - 42, 7.6);
    const provider = fitted(node.provider, box.width - 28 - 6.4 * (work.length + 2), 6.2);
    const classes = ["node", look, selected && "selected", node.error?.secondary && "secondary", holdup && "holdup", helper && "helper"].filter(Boolean).join(" ");
    return (
      <g
        class={classes}
        transform={`translate(${box.x} ${box.y})`}
        role="button"
        tabindex={0}
        aria-pressed={selected}
        aria-label={far ? `${node.id}, ${node.provider}, ${node.state}` : undefined}
        onClick={() => onSelect(node.id)}
        onKeyDown={(event) => {
          if (event.key === "Enter" || event.key === " ") event.preventDefault(), onSelect(node.id);
        }}
      >
        <rect class="node-box" width={box.width} height={box.height} rx="10" />
        {!far && (
          <>
            <circle class="node-state" cx="18" cy="20" r="6.5" />
            <path class="node-sign" d={SIGNS[node.state] ?? ""} />
            <text class="node-id" x="32" y="24.5">
              {id}
            </text>{" "}
            <text class="node-provider" x="14" y="44">
              {provider}
            </text>{" "}
            <text class="node-work" x={box.width - 12} y="44">
              {work}
            </text>
            <text class="node-words" x="14" y="30">
              {` ${node.state}${id === node.id ? "" : `, ${node.id}`}${holdup ? ", holds up the run" : ""}`}
            </text>
            <rect class="node-track" x="12" y="52" width={box.width - 24} height="3" rx="1.5" />
          </>
        )}
        {fraction !== undefined && <rect class="node-progress" x="12" y="52" width={(box.width - 24) * fraction} height="3" rx="1.5" />}
        {fraction === undefined && shares(node, box.width - 24)}
      </g>
    );
  }
}

/** What a node has done: its calls if it is a helper, else its firings. */
function workOf(node: NodeModel): string {
  if (node.helper) {
    const { calls, active_calls: active } = node.helper;
    return active ? `${count(calls)} calls, ${active} now` : `${count(calls)} ${calls === 1 ? "call" : "calls"}`;
  }
  return node.firings ? `${count(node.firings)}×` : "";
}

/** The shares of its time so far: busy, then blocked. */
function shares(node: NodeModel, width: number) {
  const total = node.busy + node.waiting + node.blocked;
  if (!total) return null;
  const busy = (node.busy / total) * width;
  const blocked = (node.blocked / total) * width;
  return (
    <>
      {busy > 1 && <rect class="node-busy" x="12" y="52" width={busy} height="3" rx="1.500" />}
      {blocked > 1 && <rect class="node-blocked" x={12 + busy} y="52" width={blocked} height="3" rx="1.500" />}
    </>
  );
}

export function fitted(text: string, width: number, perCharacter: number): string {
  const most = Math.max(3, Math.floor(width / perCharacter));
  return text.length > most ? text.slice(0, most - 1) + "…" : text;
}

interface EdgeProps {
  edge: EdgeModel;
  revision: number;
  line: EdgeLine;
  selected: boolean;
  holdup: boolean;
  far: boolean;
  onSelect(id: string): void;
}

export class GraphEdge extends Component<EdgeProps> {
  override shouldComponentUpdate(next: EdgeProps): boolean {
    return changed(this.props, next);
  }

  override render({ edge, line, selected, holdup, far, onSelect }: EdgeProps) {
    const control = edge.shape.class_type;
    const fill = fillOf(edge);
    const classes = ["edge", control && "control", edge.drained && "drained", selected && "selected", (holdup || fill >= 0.8) && "full"];
    const moving = !control && edge.rate > 0 && !edge.drained;
    return (
      <g class={classes.filter(Boolean).join(" ")} onClick={() => onSelect(edge.id)}>
        <path class="edge-hit" d={line.path} />
        <path class="edge-line" d={line.path} marker-end={control ? undefined : "url(#arrow)"} stroke-width={1.4 + width(edge.rate)} />
        {!far && <g class="edge-label" transform={`translate(${line.x} ${line.y})`}>
          {control ? (
            <text y="4">{control}</text>
          ) : (
            edge.sent > 0 && (
              <>
                <rect class="edge-plate" x="-37" y="-10" width="74" height="20" rx="10" />
                {fill > 0.01 && <rect class="edge-fill" x="-37" y="-10" width={74 * fill} height="20" rx="10" />}
                <text y="4">{moving && edge.rate >= 0.1 ? rate(edge.rate) : fill > 0 ? `${count(edge.buffered)} wait` : count(edge.sent)}</text>
              </>
            )
          )}
        </g>}
      </g>
    );
  }
}

/** Lanes that carry more are drawn wider, by the logarithm. */
const width = (perSecond: number): number => Math.min(2.6, Math.log10(1 + perSecond) * 0.8);

export function edgeName(edge: EdgeModel): string {
  const { producer, output, consumer, input, class_type: kind } = edge.shape;
  return kind ? `${producer} calls ${consumer}` : `${producer}.${output} → ${consumer}.${input}`;
}
