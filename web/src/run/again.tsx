/** Starts the pipeline of a run again, with the same input or another one. */
import { useEffect, useRef, useState } from "preact/hooks";
import { api } from "../app/api.ts";
import { notifyError } from "../app/notices.tsx";
import { go } from "../app/router.ts";
import type { RunModel } from "./run_model.ts";

export function RunAgain({ model, onClose }: { model: RunModel; onClose(): void }) {
  const dialog = useRef<HTMLDialogElement>(null);
  const given = model.inputs[0];
  const [input, setInput] = useState(given?.lane === "text" || given?.lane === "questions" ? given.summary : "");
  const [trace, setTrace] = useState(false);
  const [starting, setStarting] = useState(false);
  const hasSource = Boolean(model.document?.source ?? model.inputCount);
  useEffect(() => dialog.current?.showModal(), []);
  const start = async (event: SubmitEvent): Promise<void> => {
    event.preventDefault();
    const pipeline = model.deployment ? `@${model.deployment}` : model.document;
    if (!pipeline) return;
    setStarting(true);
    try {
      const options = { pipeline, ...(hasSource && input ? { input } : {}), ...(trace ? { trace: "full" } : {}) };
      const { run_id: id } = await api.startRun(options);
      go("runs", id);
    } catch (error) {
      notifyError(error);
      setStarting(false);
    }
  };
  return (
    <dialog ref={dialog} class="dialog" aria-labelledby="again-title" onClose={onClose}>
      <h2 id="again-title">Run again</h2>
      <form class="stack" onSubmit={(event) => void start(event)}>
        {hasSource && (
          <label>
            <span class="label">Input</span>
            <textarea class="wide" rows={4} value={input} onInput={(event) => setInput(event.currentTarget.value)} />
          </label>
        )}
        {given && given.size > given.summary.length * 4 && <p>The record has only the first 200 characters of the input.</p>}
        {model.inputCount > 1 && <p>The run had {model.inputCount} inputs. This one gets the one above.</p>}
        <label class="row">
          <input type="checkbox" checked={trace} onChange={(event) => setTrace(event.currentTarget.checked)} />
          <span>Trace the items, so that edges show them</span>
        </label>
        <div class="row">
          <button class="button primary" disabled={starting}>
            {starting ? "Starting…" : "Run"}
          </button>
          <button class="button quiet" type="button" onClick={() => dialog.current?.close()}>
            Close
          </button>
        </div>
      </form>
    </dialog>
  );
}
