/** The drawing of a document: nodes are dragged, lines are drawn from outputs to the inputs that fit. */
import { useMemo, useRef, useState } from "preact/hooks";
import { Icon } from "../app/icons.tsx";
import type { RunModel } from "../run/run_model.ts";
import { useCamera } from "./camera.ts";
import { EditorLine, EditorNode, lineBetween } from "./canvas_parts.tsx";
import { arranged, portPlace, type Frame } from "./placement.ts";
import type { Connection, Point } from "./pipeline_parts.ts";
import { portKey, type NodePort } from "./ports.ts";
import { editor, faultsAt, placeOfFault } from "./store.ts";

/** The type of the data that is dragged from the catalogue. */
export const DRAGGED_TYPE = "application/x-lanemesh-node-type";

/** A line ends at a port that is so near, in units of the drawing. */
const REACH = 26;
const STEP = 12;
const ARROWS: Record<string, Point> = { ArrowLeft: { x: -1, y: 0 }, ArrowRight: { x: 1, y: 0 }, ArrowUp: { x: 0, y: -1 }, ArrowDown: { x: 0, y: 1 } };

type Drag =
  | { kind: "pan"; x: number; y: number; moved: boolean }
  | { kind: "node"; id: string; grip: Point; from: Point; at: Point; moved: boolean }
  | { kind: "line"; port: NodePort; at: Point; end: NodePort | undefined; from: Point; moved: boolean };

export function Canvas({ run }: { run: RunModel | undefined }) {
  const area = useRef<HTMLDivElement>(null);
  const wiring = editor.wiring.value;
  void run?.clock.tick.value; // it is drawn again while the run goes on
  const placed = editor.frames.value;
  const camera = useCamera(area, placed, editor.opened.value);
  const [drag, setDrag] = useState<Drag>();
  const selection = editor.selection.value;
  const pending = drag?.kind === "line" ? drag.port : editor.pending.value?.port;
  const offered = useMemo(() => (pending ? wiring.targets(pending) : undefined), [wiring, pending && portKey(pending)]);
  const offeredKeys = useMemo(() => offered && new Set(offered.map(portKey)), [offered]);
  const frames = new Map(placed);
  if (drag?.kind === "node" && drag.moved && placed.has(drag.id)) frames.set(drag.id, { ...placed.get(drag.id)!, ...drag.at });

  const placeOf = (port: NodePort): Point | undefined => {
    const frame = frames.get(port.component);
    if (!frame) return undefined;
    const { x, y } = portPlace(wiring.ports.get(port.component) ?? [], port, frame);
    return { x: frame.x + x, y: frame.y + y };
  };
  /** The port where a line that is drawn to a point ends: the nearest one that fits, or the first one of the node there. */
  const endAt = (at: Point): NodePort | undefined => {
    const near = (offered ?? []).map((port) => ({ port, away: distance(placeOf(port), at) })).sort((a, b) => a.away - b.away);
    if (near[0] && near[0].away <= REACH) return near[0].port;
    const hit = [...frames].reverse().find(([, frame]) => inside(frame, at))?.[0];
    return near.find((one) => one.port.component === hit)?.port;
  };
  const portOf = (target: EventTarget | null): NodePort | undefined => {
    const key = (target as Element | null)?.closest("[data-port]")?.getAttribute("data-port");
    return key ? [...wiring.ports.values()].flat().find((one) => portKey(one) === key) : undefined;
  };

  const onPointerDown = (event: PointerEvent): void => {
    if (event.button) return;
    const at = camera.pointAt(event);
    const from = { x: event.clientX, y: event.clientY };
    const port = portOf(event.target);
    const id = (event.target as Element).closest("[data-node]")?.getAttribute("data-node");
    if (port && !editor.pending.value && wiring.starts(port.component).some((one) => portKey(one) === portKey(port))) {
      setDrag({ kind: "line", port, at, end: undefined, from, moved: false });
    } else if (id && !editor.pending.value) {
      const frame = frames.get(id)!;
      setDrag({ kind: "node", id, grip: { x: at.x - frame.x, y: at.y - frame.y }, from, at: frame, moved: false });
    } else if (!id) setDrag({ kind: "pan", ...from, moved: false });
    else return;
    (event.currentTarget as Element).setPointerCapture(event.pointerId);
  };
  const onPointerMove = (event: PointerEvent): void => {
    if (!drag) return;
    if (drag.kind === "pan") {
      const [dx, dy] = [event.clientX - drag.x, event.clientY - drag.y];
      if (!drag.moved && Math.hypot(dx, dy) < 4) return;
      camera.move(dx, dy);
      return setDrag({ ...drag, x: event.clientX, y: event.clientY, moved: true });
    }
    const at = camera.pointAt(event);
    const moved = drag.moved || Math.hypot(event.clientX - drag.from.x, event.clientY - drag.from.y) >= 4;
    if (drag.kind === "node") setDrag({ ...drag, at: moved ? { x: at.x - drag.grip.x, y: at.y - drag.grip.y } : drag.at, moved });
    else setDrag({ ...drag, at, end: endAt(at), moved });
  };
  const onPointerUp = (event: PointerEvent): void => {
    if (!drag) return;
    setDrag(undefined);
    if (drag.kind === "node") {
      if (drag.moved) editor.move(new Map([[drag.id, drag.at]]));
      editor.selection.value = { kind: "node", id: drag.id };
    } else if (drag.kind === "line") {
      const end = endAt(camera.pointAt(event));
      if (!drag.moved) editor.pending.value = { component: drag.port.component, port: drag.port };
      else if (end) editor.connect(drag.port, end);
    } else if (!drag.moved && event.target instanceof Element && !event.target.closest("[data-edge]")) {
      const edge = document.elementFromPoint(event.clientX, event.clientY)?.closest("[data-edge]")?.getAttribute("data-edge");
      editor.pending.value = undefined;
      editor.selection.value = edge ? { kind: "edge", pointer: edge } : undefined;
    }
  };
  /** A click on a node: ends a pending connection where it fits, else selects it. */
  const choose = (id: string, event: MouseEvent): void => {
    if (!pending) return void (editor.selection.value = { kind: "node", id });
    const port = portOf(event.target);
    const end = offered?.find((one) => port && portKey(one) === portKey(port)) ?? offered?.find((one) => one.component === id);
    if (end) editor.connect(pending, end);
  };
  const onKey = (id: string, event: KeyboardEvent): void => {
    const arrow = ARROWS[event.key];
    const frame = placed.get(id);
    if (arrow && frame) {
      const step = event.shiftKey ? STEP * 5 : STEP;
      const at = { x: frame.x + arrow.x * step, y: frame.y + arrow.y * step };
      editor.move(new Map([[id, at]]), `move ${id}`);
      camera.reveal({ ...frame, ...at });
    } else if (event.key === "Enter" || event.key === " ") editor.selection.value = { kind: "node", id };
    else if (event.key === "Delete" || event.key === "Backspace") editor.remove({ kind: "node", id });
    else if (event.key === "c" && !event.ctrlKey && !event.metaKey) beginAt(id);
    else return;
    event.preventDefault();
    event.stopPropagation();
  };
  const drop = (event: DragEvent): void => {
    const type = editor.catalogue.value.get(event.dataTransfer?.getData(DRAGGED_TYPE) ?? "");
    if (!type) return;
    event.preventDefault();
    event.stopPropagation();
    editor.add(type, camera.pointAt(event));
  };

  const { x, y, scale } = camera.camera;
  const edgeOf = runEdges(run);
  return (
    <div class="canvas" ref={area} onDrop={drop} onDragOver={(event) => event.dataTransfer?.types.includes(DRAGGED_TYPE) && event.preventDefault()}>
      <svg
        class={drag ? `graph-canvas canvas-svg dragging-${drag.kind}` : pending ? "graph-canvas canvas-svg connecting" : "graph-canvas canvas-svg"}
        role="group"
        aria-label={`Pipeline of ${wiring.parts.length} nodes and ${wiring.connections.length} edges`}
        onPointerDown={onPointerDown}
        onPointerMove={onPointerMove}
        onPointerUp={onPointerUp}
        onPointerCancel={() => setDrag(undefined)}
      >
        <g transform={`translate(${x.toFixed(2)} ${y.toFixed(2)}) scale(${scale.toFixed(4)})`}>
          {wiring.connections.map((one) => {
            const { begin, end } = wiring.endsOf(one);
            const a = (begin && placeOf(begin)) ?? side(frames.get(one.from), one.kind, true);
            const b = (end && placeOf(end)) ?? side(frames.get(one.to), one.kind, false);
            if (!a || !b) return null;
            const faults = faultsAt(editor.faults.value, one.pointer);
            return (
              <EditorLine
                key={one.pointer}
                connection={one}
                path={lineBetween(a, b, one.kind === "control")}
                middle={{ x: (a.x + b.x) / 2, y: (a.y + b.y) / 2 }}
                selected={selection?.kind === "edge" && selection.pointer === one.pointer}
                fault={faults.some((fault) => fault.severity === "error") ? "faulty" : faults.length ? "doubtful" : ""}
                run={edgeOf(one)}
                onSelect={() => (editor.selection.value = { kind: "edge", pointer: one.pointer })}
              />
            );
          })}
          {wiring.parts.map((part) => {
            const frame = frames.get(part.id);
            if (!frame) return null;
            const faults = faultsAt(editor.faults.value, `/components/${part.index}`).filter((one) => placeOfFault(one.pointer, wiring.parts)?.kind === "node");
            const errors = faults.filter((one) => one.severity === "error").length;
            return (
              <EditorNode
                key={part.id}
                part={part}
                frame={frame}
                ports={wiring.ports.get(part.id) ?? []}
                known={!editor.types.value.length || editor.catalogue.value.has(part.provider)}
                selected={selection?.kind === "node" && selection.id === part.id}
                faults={{ errors, warnings: faults.length - errors }}
                offered={offeredKeys}
                active={drag?.kind === "line" && drag.end ? portKey(drag.end) : portKey(pending)}
                run={run?.nodes.get(part.id)}
                onSelect={(event) => choose(part.id, event)}
                onKey={(event) => onKey(part.id, event)}
              />
            );
          })}
          {drag?.kind === "line" && drag.moved && (
            <path class="line-drawn" d={lineBetween(placeOf(drag.port) ?? drag.at, (drag.end && placeOf(drag.end)) ?? drag.at, drag.port.kind === "invokes")} />
          )}
        </g>
      </svg>
      <div class="canvas-tools">
        <button class="button quiet small" disabled={!wiring.parts.length} onClick={() => editor.move(arranged(wiring))}>
          Arrange
        </button>
        <button class="button quiet icon-only small" aria-label="Smaller" onClick={() => camera.zoom(1 / 1.3)}>
          −
        </button>
        <button class="button quiet icon-only small" aria-label="Larger" onClick={() => camera.zoom(1.3)}>
          +
        </button>
        <button class="button quiet icon-only small" aria-label="Show the whole graph" onClick={camera.fit}>
          <Icon name="fit" size={16} />
        </button>
      </div>
    </div>
  );
}

/** Begins a connection at a component: at its only port, or at one that is chosen. */
export function beginAt(id: string): void {
  const starts = editor.wiring.value.starts(id);
  if (!starts.length) return;
  editor.pending.value = starts.length === 1 ? { component: id, port: starts[0]! } : { component: id };
}

const distance = (a: Point | undefined, b: Point): number => (a ? Math.hypot(a.x - b.x, a.y - b.y) : Infinity);

const inside = (frame: Frame, at: Point): boolean => at.x >= frame.x && at.y >= frame.y && at.x <= frame.x + frame.width && at.y <= frame.y + frame.height;

/** Where a line ends at a node that has no such port. */
function side(frame: Frame | undefined, kind: Connection["kind"], begins: boolean): Point | undefined {
  if (!frame) return undefined;
  if (kind === "control") return { x: frame.x + frame.width / 2, y: frame.y + (begins ? frame.height : 0) };
  return { x: frame.x + (begins ? frame.width : 0), y: frame.y + 22 };
}

/** Finds the edge of a run by the ends of a connection. */
function runEdges(run: RunModel | undefined) {
  if (!run) return () => undefined;
  const edges = [...run.edges.values()];
  return (one: Connection) =>
    edges.find(({ shape }) => {
      if (one.kind === "control" || shape.class_type) return false;
      const { output, input, lane } = one.entry;
      return shape.producer === one.from && shape.consumer === one.to && (!output || shape.output === output) && (!input || shape.input === input) && (!shape.lane || shape.lane === lane);
    });
}
