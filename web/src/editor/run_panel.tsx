/** Runs the document right here: its states are drawn in the graph, its outputs stand in this panel. */
import { useEffect, useState } from "preact/hooks";
import { api } from "../app/api.ts";
import { Icon } from "../app/icons.tsx";
import { notify, notifyError } from "../app/notices.tsx";
import { href } from "../app/router.ts";
import { OutputPanel } from "../run/output_panel.tsx";
import { approvalKey } from "../run/run_model.ts";
import { useTick, type RunStore } from "../run/run_store.ts";
import { ApprovalCard } from "../widgets/approval_card.tsx";
import { ErrorLine, FaultBox } from "../widgets/fault_box.tsx";
import { StateBadge } from "../widgets/state_badge.tsx";
import { sourceOf, sourcesOf } from "./sources.ts";
import { editor } from "./store.ts";

interface RunPanelProps {
  run: RunStore | undefined;
  /** Why the document cannot run now; empty: it can. */
  blocked: string;
  variables: Record<string, string>;
  onVariable(name: string, value: string): void;
  onStarted(id: string): void;
}

/** The input is kept while other panels are shown. */
let lastInput = "";

export function RunPanel({ run, blocked, variables, onVariable, onStarted }: RunPanelProps) {
  const [input, setInput] = useState(lastInput);
  const [chosen, setChosen] = useState("");
  const [starting, setStarting] = useState(false);
  useEffect(() => void (lastInput = input), [input]);
  const sources = sourcesOf(editor.document.value, (provider) => editor.catalogue.value.get(provider));
  const source = sourceOf(sources, editor.document.value, chosen);
  const takesInput = source?.fed ?? false;
  const start = async (): Promise<void> => {
    if (starting) return;
    if (blocked) return notify(blocked, true);
    setStarting(true);
    try {
      const given = Object.keys(variables).length ? { variables } : {};
      const part = sources.length > 1 && source ? { source: source.id } : {};
      const { run_id: id } = await api.startRun({ pipeline: editor.document.value, ...(takesInput && input ? { input } : {}), ...part, ...given });
      onStarted(id);
    } catch (error) {
      notifyError(error);
    }
    setStarting(false);
  };
  return (
    <div class="stack">
      <form class="stack" onSubmit={(event) => (event.preventDefault(), void start())}>
        {sources.length > 1 && (
          <label>
            <span class="label">Source</span>
            <select id="editor-source" value={source?.id ?? ""} onChange={(event) => setChosen(event.currentTarget.value)}>
              {sources.map((one) => (
                <option key={one.id} value={one.id}>
                  {one.id}
                </option>
              ))}
            </select>
          </label>
        )}
        {takesInput && (
          <label>
            <span class="label">Input</span>
            <textarea
              id="editor-input"
              class="wide"
              rows={3}
              value={input}
              onInput={(event) => setInput(event.currentTarget.value)}
              onKeyDown={(event) => event.key === "Enter" && (event.ctrlKey || event.metaKey) && (event.preventDefault(), void start())}
            />
          </label>
        )}
        {Object.entries(variables).map(([name, value]) => (
          <label key={name}>
            <span class="label">
              Variable <span class="mono">{name}</span>, for runs from this page
            </span>
            <input type="password" autocomplete="off" value={value} onInput={(event) => onVariable(name, event.currentTarget.value)} />
          </label>
        ))}
        <div class="row">
          <button class="button primary" disabled={blocked !== "" || starting}>
            <Icon name="run" size={16} />
            {starting ? "Starting…" : "Start the run"}
          </button>
          {blocked && <span class="soft">{blocked}</span>}
        </div>
      </form>
      {run && <Result key={run.model.id} run={run} />}
    </div>
  );
}

function Result({ run }: { run: RunStore }) {
  const { model } = run;
  useTick(model);
  const cancel = async (): Promise<void> => {
    try {
      await api.cancelRun(model.id, "cancelled in the editor");
    } catch (error) {
      notifyError(error);
    }
  };
  const open = [...model.approvals.values()].filter((one) => one.state === "requested" && !model.ended);
  return (
    <section class="stack" aria-label="The run">
      <div class="row">
        <StateBadge state={model.state} />
        <a href={href("runs", model.id)}>Open the run</a>
        {!model.ended && (
          <button class="button danger small" onClick={() => void cancel()}>
            <Icon name="stop" size={15} />
            Cancel
          </button>
        )}
      </div>
      <ErrorLine error={run.error.value ? { message: run.error.value } : undefined} />
      {model.error && <FaultBox fault={model.error} title="The run failed" />}
      {open.map((approval) => (
        <ApprovalCard key={approvalKey(approval)} runId={model.id} approval={approval} />
      ))}
      <OutputPanel model={model} />
    </section>
  );
}
