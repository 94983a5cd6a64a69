/** A call of a tool with its arguments and its result, and a thought of an agent. */
import { seconds } from "../app/format.ts";
import { Icon } from "../app/icons.tsx";
import { JsonTree } from "./json_tree.tsx";

export interface ToolCall {
  tool: string;
  arguments: unknown;
  result: { content: unknown; isError: boolean; seconds: number } | undefined;
  progress?: { message: string; fraction: number | undefined } | undefined;
}

/** `active`: the caller still waits for the result. `revision` moves with every change of a call that is changed in place. */
export function ToolCard({ call, who, active = true }: { call: ToolCall; revision?: number; who?: string; active?: boolean }) {
  const state = call.result ? (call.result.isError ? "failed" : "done") : active ? "running" : "idle";
  return (
    <article class={`card tool-card ${state}`}>
      <header>
        <Icon name="tool" size={17} />
        <strong class="mono">{call.tool}</strong>
        {who && <span class="faint">{who}</span>}
        <span class={`badge ${state}`}>
          {call.result ? (call.result.isError ? "error" : seconds(call.result.seconds)) : active ? "running" : "no result"}
        </span>
      </header>
      <Labelled label="Arguments" value={call.arguments} />
      {call.progress && !call.result && <ProgressBar message={call.progress.message} fraction={call.progress.fraction} />}
      {call.result && <Labelled label={call.result.isError ? "Error" : "Result"} value={call.result.content} />}
    </article>
  );
}

function Labelled({ label, value }: { label: string; value: unknown }) {
  if (value === undefined || value === "" || (typeof value === "object" && value !== null && !Object.keys(value).length)) return null;
  return (
    <div class="labelled">
      <span class="label">{label}</span>
      {typeof value === "string" ? <pre class="plain">{value}</pre> : <JsonTree value={value} />}
    </div>
  );
}

export function Thought({ text, who }: { text: string; who?: string }) {
  return (
    <article class="thought">
      <Icon name="thought" size={17} />
      <p>
        {who && <span class="faint">{who} · </span>}
        {text}
      </p>
    </article>
  );
}

/** `fraction`: from 0 to 1; undefined: unknown. */
export function ProgressBar({ message, fraction }: { message: string; fraction: number | undefined }) {
  return (
    <div class="progress-line">
      <progress max={1} {...(fraction === undefined ? {} : { value: fraction })} aria-label={message || "Progress"} />
      {message && <span class="soft">{message}</span>}
    </div>
  );
}
