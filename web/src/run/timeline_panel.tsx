/** When each node was busy, waiting and blocked. */
import { useEffect, useRef } from "preact/hooks";
import { percent, seconds } from "../app/format.ts";
import { isDark } from "../app/theme.ts";
import { Empty } from "../widgets/empty.tsx";
import { StateBadge } from "../widgets/state_badge.tsx";
import { Chart } from "./chart.tsx";
import type { Selection } from "./graph.tsx";
import type { NodeModel, RunModel } from "./run_model.ts";
import { useTick } from "./run_store.ts";
import type { Span } from "./timeline_data.ts";

const REDRAW = 250;

export function TimelinePanel({ model, onSelect }: { model: RunModel; onSelect(selection: Selection): void }) {
  useTick(model);
  const nodes = [...model.nodes.values()];
  const drawn = nodes.filter((one) => one.timeline.spans.length);
  if (!drawn.length) return <Empty title={model.ended ? "The run was too short for a timeline" : "The timeline begins with the first reports"} />;
  const from = Math.min(...drawn.map((one) => one.timeline.spans[0]!.from));
  const to = Math.max(...drawn.map((one) => one.timeline.spans.at(-1)!.to));
  return (
    <div class="stack">
      {model.samples.length > 2 && <Chart model={model} />}
      <p class="legend soft">
        <span>
          <span class="key busy" /> busy
        </span>
        <span>
          <span class="key blocked" /> blocked: its lanes are full
        </span>
        <span>
          <span class="key waiting" /> waiting for items
        </span>
      </p>
      <div class="table-scroll timeline" tabIndex={0} role="region" aria-label="Timeline">
        <table class="table">
          <thead>
            <tr>
              <th scope="col">Node</th>
              <th scope="col">State</th>
              <th scope="col" class="strip-cell">
                {seconds(to - from)}
              </th>
              <th scope="col">Busy</th>
              <th scope="col">Blocked</th>
              <th scope="col">Waiting</th>
            </tr>
          </thead>
          <tbody>
            {drawn.map((node) => (
              <Row key={node.id} node={node} revision={node.revision} from={from} to={to} onSelect={onSelect} />
            ))}
          </tbody>
        </table>
      </div>
    </div>
  );
}

function Row({ node, from, to, onSelect }: { node: NodeModel; revision: number; from: number; to: number; onSelect(selection: Selection): void }) {
  const total = node.busy + node.waiting + node.blocked || 1;
  return (
    <tr>
      <th scope="row">
        <button class="link mono" onClick={() => onSelect({ kind: "node", id: node.id })}>
          {node.id}
        </button>
      </th>
      <td>
        <StateBadge state={node.state} />
      </td>
      <td class="strip-cell">
        <Strip spans={node.timeline.spans} from={from} to={to} />
      </td>
      <td class="number">{percent(node.busy / total)}</td>
      <td class="number">{percent(node.blocked / total)}</td>
      <td class="number">{percent(node.waiting / total)}</td>
    </tr>
  );
}

/** A canvas, drawn at most four times a second: a long run of many nodes has thousands of spans. */
function Strip({ spans, from, to }: { spans: Span[]; from: number; to: number }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const last = useRef(0);
  const latest = useRef({ spans, from, to });
  latest.current = { spans, from, to };
  const dark = isDark.value;
  useEffect(() => {
    const pause = Math.max(0, last.current + REDRAW - performance.now());
    const timer = setTimeout(() => {
      last.current = performance.now();
      if (canvas.current) draw(canvas.current, latest.current);
    }, pause);
    return () => pause === 0 && clearTimeout(timer);
  }, [spans.length, Math.round(to * 4), dark]);
  return <canvas ref={canvas} class="strip" aria-hidden="true" />;
}

function draw(canvas: HTMLCanvasElement, { spans, from, to }: { spans: Span[]; from: number; to: number }): void {
  const ratio = window.devicePixelRatio || 1;
  const width = (canvas.width = Math.max(1, Math.round(canvas.clientWidth * ratio)));
  const height = (canvas.height = Math.round(canvas.clientHeight * ratio));
  const context = canvas.getContext("2d");
  if (!context) return;
  const style = getComputedStyle(document.documentElement);
  const colours = { busy: "--running", blocked: "--blocked", waiting: "--idle-soft" } as const;
  const at = (time: number): number => ((time - from) / Math.max(0.001, to - from)) * width;
  for (const span of spans) {
    const [left, right] = [Math.floor(at(span.from)), Math.ceil(at(span.to))];
    let top = height;
    for (const kind of ["busy", "blocked", "waiting"] as const) {
      const size = span[kind] * height;
      context.fillStyle = style.getPropertyValue(colours[kind]);
      context.fillRect(left, top - size, Math.max(1, right - left), size);
      top -= size;
    }
  }
}
