/** The graph of a run as SVG: drag to move, the buttons or Ctrl and the wheel to scale, Tab and Enter to select. */
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { Icon } from "../app/icons.tsx";
import { edgeName, GraphEdge, GraphNode } from "./graph_parts.tsx";
import type { Holdup } from "./holdup.ts";
import { layoutOf, type Direction } from "./layout.ts";
import type { RunModel } from "./run_model.ts";
import { useSlices } from "./slices.ts";

export type Selection = { kind: "node" | "edge"; id: string } | undefined;

interface GraphProps {
  model: RunModel;
  holdup: Holdup | undefined;
  selection: Selection;
  onSelect(selection: Selection): void;
}

interface Camera {
  /** 0: fits the whole graph. */
  scale: number;
  x: number;
  y: number;
}

const FIT: Camera = { scale: 0, x: 0, y: 0 };
const SCALES = { least: 0.1, most: 2.5 };
const LABELS_FROM = 0.55;
/** Height of the strip below the graph where its buttons are. */
const TOOLS = 26;

export function Graph({ model, holdup, selection, onSelect }: GraphProps) {
  const frame = useRef<HTMLDivElement>(null);
  const [width, setWidth] = useState(900);
  const [camera, setCamera] = useState<Camera>(FIT);
  const direction: Direction = width < 560 ? "TB" : "LR";
  const layout = useMemo(() => layoutOf(model, direction), [model, model.shapeRevision, direction]);
  const fit = Math.min(1, width / layout.width, 480 / layout.height);
  const space = Math.round(Math.max(layout.height * fit, 100));
  const height = space + TOOLS;
  const scale = camera.scale || fit;
  const [x, y] = camera.scale ? [camera.x, camera.y] : [(width - layout.width * fit) / 2, (space - layout.height * fit) / 2];

  useEffect(() => {
    const element = frame.current;
    if (!element) return;
    const observer = new ResizeObserver(() => setWidth(element.clientWidth || 900));
    observer.observe(element);
    return () => observer.disconnect();
  }, []);

  /** Scales about a point of the frame; the middle if none is given. */
  const zoom = (factor: number, at = { x: width / 2, y: height / 2 }): void => {
    const next = Math.min(SCALES.most, Math.max(Math.min(SCALES.least, fit), scale * factor));
    setCamera({ scale: next, x: at.x - ((at.x - x) / scale) * next, y: at.y - ((at.y - y) / scale) * next });
  };
  const wheel = useRef(zoom);
  wheel.current = zoom;
  useEffect(() => {
    const element = frame.current;
    const onWheel = (event: WheelEvent): void => {
      if (!event.ctrlKey && !event.metaKey) return; // the page scrolls
      event.preventDefault();
      const box = element!.getBoundingClientRect();
      wheel.current(Math.exp(-event.deltaY / 300), { x: event.clientX - box.left, y: event.clientY - box.top });
    };
    element?.addEventListener("wheel", onWheel, { passive: false });
    return () => element?.removeEventListener("wheel", onWheel);
  }, []);

  const drag = useRef<{ x: number; y: number; moved: boolean } | undefined>(undefined);
  const onPointerMove = (event: PointerEvent): void => {
    if (!drag.current || !(event.buttons & 1)) return;
    const [dx, dy] = [event.clientX - drag.current.x, event.clientY - drag.current.y];
    if (!drag.current.moved && Math.hypot(dx, dy) < 4) return;
    drag.current = { x: event.clientX, y: event.clientY, moved: true };
    setCamera({ scale, x: x + dx, y: y + dy });
  };
  const revisionOf = useSlices(model, layout.nodes.size + layout.edges.size);
  const far = scale < LABELS_FROM;
  const selectNode = useRef((id: string): void => onSelect({ kind: "node", id }));
  const selectEdge = useRef((id: string): void => onSelect({ kind: "edge", id }));
  const helpers = useMemo(() => new Set([...model.edges.values()].filter((one) => one.shape.class_type).map((one) => one.shape.consumer)), [layout]);

  return (
    <div class="graph" ref={frame}>
      <svg
        class={far ? "graph-canvas far" : "graph-canvas"}
        height={height}
        role="group"
        aria-label={`Graph of ${model.nodes.size} nodes and ${model.edges.size} edges`}
        onPointerDown={(event) => (drag.current = { x: event.clientX, y: event.clientY, moved: false })}
        onPointerMove={onPointerMove}
        onPointerUp={() => (drag.current = undefined)}
        onClick={(event) => event.target === event.currentTarget && onSelect(undefined)}
      >
        <defs>
          <marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" markerUnits="userSpaceOnUse" orient="auto">
            <path class="arrow-head" d="M1 1 7 4 1 7" />
          </marker>
        </defs>
        <g transform={`translate(${x.toFixed(2)} ${y.toFixed(2)}) scale(${scale.toFixed(4)})`}>
          {[...layout.edges].map(([id, line], place) => {
            const edge = model.edges.get(id)!;
            const selected = selection?.kind === "edge" && selection.id === id;
            const full = holdup?.edges.includes(id) ?? false;
            return (
              <GraphEdge
                key={id}
                edge={edge}
                revision={revisionOf(edge, place)}
                line={line}
                selected={selected}
                holdup={full}
                far={far}
                onSelect={selectEdge.current}
              />
            );
          })}
          {[...layout.nodes].map(([id, box], place) => {
            const node = model.nodes.get(id)!;
            const selected = selection?.kind === "node" && selection.id === id;
            return (
              <GraphNode
                key={id}
                node={node}
                revision={revisionOf(node, place)}
                box={box}
                selected={selected}
                holdup={holdup?.node === id}
                helper={helpers.has(id)}
                far={far}
                onSelect={selectNode.current}
              />
            );
          })}
        </g>
      </svg>
      <div class="graph-tools">
        {model.edges.size > 0 && (
          <label>
            <span class="hidden-visually">Select an edge</span>
            <select
              class="edge-select"
              value={selection?.kind === "edge" ? selection.id : ""}
              onChange={(event) => event.currentTarget.value && onSelect({ kind: "edge", id: event.currentTarget.value })}
            >
              <option value="">Edges…</option>
              {[...model.edges.values()].map((edge) => (
                <option value={edge.id}>{edgeName(edge)}</option>
              ))}
            </select>
          </label>
        )}
        <button class="button quiet icon-only small" aria-label="Smaller" onClick={() => zoom(1 / 1.3)}>
          −
        </button>
        <button class="button quiet icon-only small" aria-label="Larger" onClick={() => zoom(1.3)}>
          +
        </button>
        <button class="button quiet icon-only small" aria-label="Show the whole graph" onClick={() => setCamera(FIT)}>
          <Icon name="fit" size={16} />
        </button>
      </div>
    </div>
  );
}
