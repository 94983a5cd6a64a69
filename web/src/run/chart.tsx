/** Items a second of all lanes, and items that wait in them, over the time of the run. */
import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { isDark } from "../app/theme.ts";
import type { RunModel } from "./run_model.ts";

const REDRAW = 500;

export function Chart({ model }: { model: RunModel }) {
  const frame = useRef<HTMLDivElement>(null);
  const dark = isDark.value;
  useEffect(() => {
    const element = frame.current;
    if (!element) return;
    const style = getComputedStyle(document.documentElement);
    const colour = (name: string): string => style.getPropertyValue(name).trim();
    const axis = { stroke: colour("--text-soft"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false }, font: "12px system-ui" };
    const chart = new uPlot(
      {
        width: element.clientWidth,
        height: 170,
        cursor: { y: false },
        scales: { x: { time: true }, y: { range: (_chart, _low, high) => [0, Math.max(1, high * 1.1)] } },
        axes: [axis, { ...axis, size: 56 }],
        series: [
          {},
          { label: "items a second", stroke: colour("--running"), width: 2, fill: colour("--running-soft"), points: { show: false } },
          { label: "items that wait", stroke: colour("--waiting"), width: 1.5, points: { show: false } },
        ],
      },
      dataOf(model),
      element,
    );
    let drawn = model.samples.last();
    const timer = setInterval(() => {
      if (drawn === model.samples.last()) return;
      drawn = model.samples.last();
      chart.setData(dataOf(model));
    }, REDRAW);
    const observer = new ResizeObserver(() => chart.setSize({ width: element.clientWidth, height: 170 }));
    observer.observe(element);
    return () => {
      clearInterval(timer);
      observer.disconnect();
      chart.destroy();
    };
  }, [model, dark]);
  return <div class="chart" ref={frame} role="img" aria-label="Items a second and items that wait, over time" />;
}

function dataOf(model: RunModel): uPlot.AlignedData {
  const samples = model.samples.all();
  const rates = samples.map((one, index) => {
    const before = samples[index - 1];
    return before ? (one.consumed - before.consumed) / Math.max(0.001, one.time - before.time) : 0;
  });
  return [samples.map((one) => one.time), rates, samples.map((one) => one.buffered)];
}
