/** A node and a line of the drawing. */
import { count, plural } from "../app/format.ts";
import { lookOf } from "../widgets/state_badge.tsx";
import { fitted } from "../run/graph_parts.tsx";
import type { EdgeModel, NodeModel } from "../run/run_model.ts";
import { portPlace, type Frame } from "./placement.ts";
import type { Connection, Part, Point } from "./pipeline_parts.ts";
import { portKey, type NodePort } from "./ports.ts";

interface NodeProps {
  part: Part;
  frame: Frame;
  ports: readonly NodePort[];
  known: boolean;
  selected: boolean;
  faults: { errors: number; warnings: number };
  /** Keys of the ports that the pending connection may end at; undefined: none is pending. */
  offered: ReadonlySet<string> | undefined;
  /** The key of the port where it would end now, or begins. */
  active: string;
  run: NodeModel | undefined;
  onSelect(event: MouseEvent): void;
  onKey(event: KeyboardEvent): void;
}

export function EditorNode({ part, frame, ports, known, selected, faults, offered, active, run, onSelect, onKey }: NodeProps) {
  const { id, provider } = part;
  const fits = offered && ports.some((one) => offered.has(portKey(one)));
  const look = run ? lookOf(run.state) : "";
  const classes = ["node", "draft", look, selected && "selected", faults.errors > 0 && "faulty", offered && !fits && "dimmed", fits && "fits", !known && "unknown"];
  const trouble = faults.errors ? `, ${plural(faults.errors, "fault")}` : faults.warnings ? `, ${plural(faults.warnings, "warning")}` : "";
  return (
    <g
      class={classes.filter(Boolean).join(" ")}
      data-node={id}
      transform={`translate(${frame.x} ${frame.y})`}
      role="button"
      tabindex={0}
      aria-pressed={selected}
      onClick={onSelect}
      onKeyDown={onKey}
    >
      <rect class="node-box" width={frame.width} height={frame.height} rx="10" />
      <circle class="node-state" cx="18" cy="19" r="5" />
      <text class="node-id" x="31" y="23.5">
        {fitted(id, frame.width - 50, 7.6)}
      </text>{" "}
      <text class="node-provider" x="14" y="40">
        {fitted(provider, frame.width - 26, 6.3)}
      </text>
      <text class="node-words" x="14" y="30">
        {` ${run ? run.state : ""}${trouble} `}
      </text>
      {run && run.firings > 0 && (
        <text class="node-work" x={frame.width - 12} y="40">
          {count(run.firings)}×
        </text>
      )}
      {(faults.errors > 0 || faults.warnings > 0) && (
        <g class={faults.errors ? "node-fault" : "node-fault warning"} transform={`translate(${frame.width - 4} 4)`}>
          <circle r="9" />
          <text y="4">{faults.errors || faults.warnings}</text>
        </g>
      )}
      {ports.map((port) => (
        <PortMark key={portKey(port)} port={port} at={portPlace(ports, port, frame)} offered={offered?.has(portKey(port)) ?? false} active={active === portKey(port)} />
      ))}
    </g>
  );
}

function PortMark({ port, at, offered, active }: { port: NodePort; at: Point; offered: boolean; active: boolean }) {
  const helper = port.kind === "helps" || port.kind === "invokes";
  const [dx, dy, anchor] = { input: [12, 4, "start"], output: [-12, 4, "end"], invokes: [0, -11, "middle"], helps: [0, 0, "middle"] }[port.kind] as [number, number, string];
  const begins = port.kind === "output" || port.kind === "invokes";
  const classes = ["port", port.kind, begins && "begins", offered && "offered", active && "active"].filter(Boolean).join(" ");
  return (
    <g class={classes} data-port={portKey(port)} transform={`translate(${at.x} ${at.y})`}>
      <title>{port.kind === "helps" ? `Helper: ${port.offers.join(", ")}` : `${port.name}: ${port.lane || port.name}`}</title>
      <circle class="port-hit" r="13" />
      {helper ? <path class="port-mark" d="M0-6 6 0 0 6-6 0z" /> : <circle class="port-mark" r="5.5" />}
      {port.kind !== "helps" && (
        <text x={dx} y={dy} text-anchor={anchor}>
          {port.name}
          {port.required && port.kind === "invokes" ? "*" : ""}
        </text>
      )}
    </g>
  );
}

interface LineProps {
  connection: Connection;
  path: string;
  middle: Point;
  selected: boolean;
  fault: string;
  run: EdgeModel | undefined;
  onSelect(): void;
}

export function EditorLine({ connection, path, middle, selected, fault, run, onSelect }: LineProps) {
  const classes = ["edge", "draft", connection.kind === "control" && "control", selected && "selected", fault];
  return (
    <g class={classes.filter(Boolean).join(" ")} data-edge={connection.pointer} onClick={onSelect}>
      <path class="edge-hit" d={path} />
      <path class="edge-line" d={path} stroke-width={selected ? 2.4 : 1.7} />
      {run && run.sent > 0 && (
        <g class="edge-label" transform={`translate(${middle.x} ${middle.y})`}>
          <rect class="edge-plate" x="-24" y="-9" width="48" height="18" rx="9" />
          <text y="4">{count(run.sent)}</text>
        </g>
      )}
    </g>
  );
}

/** The line between two points: lanes leave to the right and arrive from the left, control connections leave downwards. */
export function lineBetween(a: Point, b: Point, control: boolean): string {
  const part = (value: number): string => value.toFixed(1);
  const reach = control ? Math.max(30, Math.abs(b.y - a.y) / 2) : Math.max(36, Math.abs(b.x - a.x) / 2);
  const [c, d] = control ? [{ x: a.x, y: a.y + reach }, { x: b.x, y: b.y - reach }] : [{ x: a.x + reach, y: a.y }, { x: b.x - reach, y: b.y }];
  return `M${part(a.x)} ${part(a.y)}C${part(c.x)} ${part(c.y)} ${part(d.x)} ${part(d.y)} ${part(b.x)} ${part(b.y)}`;
}
