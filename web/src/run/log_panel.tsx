/** The log lines of the nodes, the latest last. */
import { useState } from "preact/hooks";
import { clock, count } from "../app/format.ts";
import { Empty } from "../widgets/empty.tsx";
import type { RunModel } from "./run_model.ts";
import { useTick } from "./run_store.ts";

const SHOWN = 300;
const LEVELS = ["debug", "info", "warning", "error"] as const;

export function LogPanel({ model }: { model: RunModel }) {
  useTick(model);
  const [least, setLeast] = useState<(typeof LEVELS)[number]>("debug");
  const [text, setText] = useState("");
  const lines = model.log.all();
  if (!lines.length) return <Empty title="Nothing was logged" />;
  const wanted = text.toLowerCase();
  const found = lines.filter(
    (one) =>
      LEVELS.indexOf(one.level) >= LEVELS.indexOf(least) &&
      (!wanted || one.message.toLowerCase().includes(wanted) || one.component.toLowerCase().includes(wanted)),
  );
  const shown = found.slice(-SHOWN);
  return (
    <div class="stack">
      <div class="row">
        <label class="grow">
          <span class="hidden-visually">Text in the log</span>
          <input type="search" placeholder="Search the log" value={text} onInput={(event) => setText(event.currentTarget.value)} />
        </label>
        <label>
          <span class="hidden-visually">Lowest level</span>
          <select value={least} onChange={(event) => setLeast(event.currentTarget.value as typeof least)}>
            {LEVELS.map((level) => (
              <option value={level}>{level === "debug" ? "All levels" : `From ${level}`}</option>
            ))}
          </select>
        </label>
      </div>
      {(model.log.dropped > 0 || found.length > shown.length) && (
        <p class="faint">The last {count(shown.length)} lines. Earlier ones are in <code>lanemesh show</code>.</p>
      )}
      <ol class="log" aria-label="Log">
        {shown.map((line) => (
          <li key={line.sequence} class={`log-line ${line.level}`}>
            <time class="faint number">{clock(line.time)}</time>
            <span class="log-level">{line.level}</span>
            <span class="soft ellipsis">{line.component}</span>
            <span class="log-message">{line.message}</span>
          </li>
        ))}
      </ol>
    </div>
  );
}
