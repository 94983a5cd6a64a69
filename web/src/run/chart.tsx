/** Items a second of all lanes, and items that wait in them, over the time of the run. */
import { useEffect, useState } from "preact/hooks";
import { count, rate } from "../app/format.ts";
import type { RunModel, Sample } from "./run_model.ts";

const REDRAW = 500;
const WIDTH = 600;
const HEIGHT = 90;

export function Chart({ model }: { model: RunModel }) {
  const [, setDrawn] = useState(0);
  useEffect(() => {
    const timer = setInterval(() => setDrawn(model.samples.last()?.time ?? 0), REDRAW);
    return () => clearInterval(timer);
  }, [model]);
  const samples = model.samples.all();
  const rates = samples.map((one, index) => {
    const before = samples[index - 1];
    return before ? (one.consumed - before.consumed) / Math.max(0.001, one.time - before.time) : 0;
  });
  const waiting = samples.map((one) => one.buffered);
  return (
    <div class="charts">
      <Line title="Items a second" className="rate" samples={samples} values={rates} format={rate} />
      <Line title="Items that wait in lanes" className="buffered" samples={samples} values={waiting} format={count} />
    </div>
  );
}

interface LineProps {
  title: string;
  className: string;
  samples: readonly Sample[];
  values: number[];
  format(value: number): string;
}

function Line({ title, className, samples, values, format }: LineProps) {
  const [at, setAt] = useState<number>();
  const most = values.reduce((largest, one) => Math.max(largest, one), 0);
  const from = samples[0]?.time ?? 0;
  const length = Math.max(0.001, (samples.at(-1)?.time ?? 0) - from);
  const x = (index: number): number => ((samples[index]!.time - from) / length) * WIDTH;
  const y = (value: number): number => HEIGHT - 2 - (value / (most || 1)) * (HEIGHT - 6);
  const points = values.map((value, index) => `${x(index).toFixed(1)} ${y(value).toFixed(1)}`);
  const shown = at === undefined ? values.length - 1 : Math.min(at, values.length - 1);
  const move = (event: PointerEvent): void => {
    const box = (event.currentTarget as Element).getBoundingClientRect();
    const time = from + ((event.clientX - box.left) / box.width) * length;
    const next = samples.findIndex((one) => one.time >= time);
    setAt(next < 0 ? undefined : next);
  };
  return (
    <figure class={`chart ${className}`}>
      <figcaption>
        <span class="soft">{title}</span>
        <strong class="number">{format(values[shown] ?? 0)}</strong>
        <span class="faint number">at most {format(most)}</span>
      </figcaption>
      <svg
        viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
        preserveAspectRatio="none"
        role="img"
        aria-label={`${title}: ${format(values.at(-1) ?? 0)}, at most ${format(most)}`}
        onPointerMove={move}
        onPointerLeave={() => setAt(undefined)}
      >
        <path class="chart-area" d={`M0 ${HEIGHT}L${points.join("L")}L${WIDTH} ${HEIGHT}Z`} />
        <path class="chart-line" d={`M${points.join("L")}`} />
        {at !== undefined && samples[shown] && <path class="chart-cursor" d={`M${x(shown)} 0V${HEIGHT}`} />}
      </svg>
    </figure>
  );
}
