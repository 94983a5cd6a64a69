/** The editor of pipelines: a graph, forms and the text of one document, in step with each other. */
import { signal } from "@preact/signals";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { api } from "../app/api.ts";
import { Icon } from "../app/icons.tsx";
import { notify, notifyError } from "../app/notices.tsx";
import { useShortcuts } from "../app/shortcuts.tsx";
import type { PipelineFault } from "../app/types.ts";
import { nameOf } from "../deployments/view.tsx";
import { RunStore } from "../run/run_store.ts";
import "../run/run.css";
import { placeOf, placesOf } from "../widgets/json_places.ts";
import { PipelineText, useChecked } from "../widgets/pipeline_text.tsx";
import { Tabs } from "../widgets/tabs.tsx";
import { beginAt, Canvas } from "./canvas.tsx";
import { valueAt } from "./changes.ts";
import { ConnectBar } from "./connect_bar.tsx";
import { DeployDialog } from "./deploy_dialog.tsx";
import "./editor.css";
import { Faults } from "./fault_list.tsx";
import { Inspector } from "./inspector.tsx";
import { documentText } from "./json_text.ts";
import { Palette } from "./palette.tsx";
import { words } from "./pipeline_parts.ts";
import { RunPanel } from "./run_panel.tsx";
import { editor, placeOfFault } from "./store.ts";

const MOST_BYTES = 4 * 1024 * 1024;
const PANES = [
  { name: "settings", title: "Settings" },
  { name: "text", title: "Text" },
  { name: "run", title: "Run" },
] as const;
type Pane = (typeof PANES)[number]["name"];

const pane = signal<Pane>("settings");
const variables = signal<Record<string, string>>({});

export function EditorView({ parts: [deployment] }: { parts: string[] }) {
  const root = useRef<HTMLDivElement>(null);
  const [deploying, setDeploying] = useState(false);
  const [run, setRun] = useState<RunStore>();
  const text = editor.text.value;
  const given = useMemo(() => Object.fromEntries(Object.entries(variables.value).filter(([, value]) => value)), [variables.value]);
  const { faults, current } = useChecked(text, given);
  useEffect(() => void (editor.faults.value = faults), [faults]);
  useEffect(() => () => run?.close(), [run]);
  useOpened(deployment);
  useKeys(() => (pane.value = "run"));
  const selection = editor.selection.value;
  useEffect(() => {
    if (!selection) return;
    if (pane.value === "text") showText(root.current, selection.kind === "edge" ? selection.pointer : pointerOf(selection.id), false);
    else pane.value = "settings";
  }, [selection]);

  const errors = faults.filter((one) => one.severity === "error");
  const blocked = !editor.readable.value
    ? "The text is not JSON."
    : current && errors.length
      ? "Mend the faults first."
      : !editor.wiring.value.parts.length
        ? "Add nodes first."
        : "";
  const showFault = (fault: PipelineFault): void => {
    const place = placeOfFault(fault.pointer, editor.wiring.value.parts);
    if (!place && fault.pointer.split("/").length !== 2) pane.value = "text";
    editor.selection.value = place;
    setTimeout(() => {
      if (pane.value === "text") showText(root.current, fault.pointer, true);
      else focusField(root.current, fault.pointer);
    }, 60);
  };
  const name = words(editor.document.value.name);
  return (
    <div class="editor" ref={root} onDragOver={(event) => event.preventDefault()} onDrop={(event) => (event.preventDefault(), void openFile(event.dataTransfer?.files[0]))}>
      <header class="editor-head">
        <div class="editor-title">
          <h1 class="ellipsis">{name || (editor.origin.value ? editor.fileName.value : "New pipeline")}</h1>
          <span class="soft">{[editor.origin.value, editor.steps.value >= 0 && editor.changed ? "changed" : ""].filter(Boolean).join(" · ")}</span>
        </div>
        <OpenButtons />
        <button class="button quiet small" disabled={!editor.history.canUndo} onClick={() => editor.undo()}>
          Undo
        </button>
        <button class="button quiet small" disabled={!editor.history.canRedo} onClick={() => editor.redo()}>
          Redo
        </button>
        <button class="button small" onClick={download}>
          <Icon name="download" size={15} />
          Download
        </button>
        <button class="button small" disabled={blocked !== ""} onClick={() => setDeploying(true)}>
          <Icon name="deployments" size={15} />
          Deploy
        </button>
        <button class="button primary small" onClick={() => (pane.value = "run")}>
          <Icon name="run" size={15} />
          Run
        </button>
      </header>
      <Palette onAdded={() => (pane.value = pane.value === "text" ? "text" : "settings")} />
      <div class="editor-middle">
        <ConnectBar />
        <Canvas run={run?.model} />
        <Faults current={current} onShow={showFault} />
      </div>
      <section class="editor-side" aria-label="Settings, text and run">
        <Tabs tabs={PANES} current={pane.value} label="Settings, text and run" onSelect={(next) => (pane.value = next as Pane)} />
        <div class="editor-pane" role="tabpanel" id={`panel-${pane.value}`} aria-labelledby={`tab-${pane.value}`} tabIndex={0}>
          {pane.value === "settings" && <Inspector />}
          {pane.value === "text" && <PipelineText text={text} faults={faults} label="Text of the pipeline" onText={(next) => editor.type(next)} />}
          {pane.value === "run" && (
            <RunPanel
              run={run}
              blocked={blocked}
              variables={wanted(faults)}
              onVariable={(one, value) => (variables.value = { ...variables.value, [one]: value })}
              onStarted={(id) => setRun(new RunStore(id))}
            />
          )}
        </div>
      </section>
      {deploying && <DeployDialog name={editor.origin.value.startsWith("@") ? editor.fileName.value : nameOf(name || editor.fileName.value)} onClose={() => setDeploying(false)} />}
    </div>
  );
}

/** Opens a deployed pipeline once, not again when one comes back from another view. */
function useOpened(deployment: string | undefined): void {
  useEffect(() => {
    if (!deployment) return;
    const name = deployment.replace(/^@/, "");
    if (editor.origin.value === `@${name}`) return;
    let here = true;
    api.deployment(name).then(
      ({ pipeline }) => here && pipeline && editor.open(documentText(pipeline), name, `@${name}`),
      (error) => here && notifyError(error),
    );
    return () => void (here = false);
  }, [deployment]);
  useEffect(() => {
    const leave = (event: BeforeUnloadEvent): void => {
      if (editor.changed) event.preventDefault();
    };
    addEventListener("beforeunload", leave);
    return () => removeEventListener("beforeunload", leave);
  }, []);
}

async function openFile(file: File | undefined): Promise<void> {
  if (!file) return;
  if (file.size > MOST_BYTES) return notify(`${file.name} is larger than 4 MiB, so it is no pipeline.`, true);
  editor.open(await file.text(), file.name.replace(/(\.pipe)?(\.json)?$/, ""), file.name);
}

function OpenButtons() {
  const input = useRef<HTMLInputElement>(null);
  return (
    <>
      <button class="button quiet small" onClick={() => (editor.openEmpty(), (pane.value = "settings"))}>
        New
      </button>
      <button class="button quiet small" title="Or drop a .pipe file on the page" onClick={() => input.current?.click()}>
        Open
      </button>
      <input
        ref={input}
        class="hidden-visually"
        type="file"
        tabIndex={-1}
        aria-label="Open a .pipe file"
        accept=".pipe,.json,application/json"
        onChange={(event) => {
          void openFile(event.currentTarget.files?.[0]);
          event.currentTarget.value = "";
        }}
      />
    </>
  );
}

function download(): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([editor.text.value], { type: "application/json" }));
  link.download = `${editor.fileName.value}.pipe`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  editor.markSaved();
}

function useKeys(showRun: () => void): void {
  useShortcuts([
    { keys: "c", label: "Connect from the selected node", run: () => editor.selection.value?.kind === "node" && beginAt(editor.selection.value.id) },
    { keys: "Delete", label: "Delete what is selected", run: () => editor.remove(editor.selection.value) },
    { keys: "Escape", label: "Select nothing", run: () => ((editor.pending.value = undefined), (editor.selection.value = undefined)) },
    { keys: "r", label: "Show the panel to run", run: showRun },
  ]);
  useEffect(() => {
    const onKey = (event: KeyboardEvent): void => {
      if (!event.ctrlKey && !event.metaKey) return;
      if (document.querySelector("dialog[open]")) return;
      const key = event.key.toLowerCase();
      if (key === "z" && !event.shiftKey) editor.undo();
      else if ((key === "z" && event.shiftKey) || key === "y") editor.redo();
      else if (key === "s") download();
      else return;
      event.preventDefault();
    };
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  }, []);
}

function pointerOf(id: string): string {
  const part = editor.wiring.value.parts.find((one) => one.id === id);
  return part ? `/components/${part.index}` : "";
}

/** Scrolls the text to the place of a pointer. */
function showText(root: HTMLElement | null, pointer: string, focus: boolean): void {
  const area = root?.querySelector<HTMLTextAreaElement>(".pipeline-area");
  const places = area && placesOf(area.value);
  if (!area || !places) return void (focus && area?.focus());
  const place = placeOf(places, pointer);
  if (focus) {
    area.focus();
    area.setSelectionRange(place.from, Math.min(place.to, place.from + 2_000));
  }
  const before = area.value.slice(0, place.from).split("\n").length - 1;
  area.scrollTop = (before - 3) * (area.scrollHeight / Math.max(1, area.value.split("\n").length));
}

/** Focuses the field of a pointer, or of the nearest one around it. */
function focusField(root: HTMLElement | null, pointer: string): void {
  for (let path = pointer; path; path = path.slice(0, path.lastIndexOf("/"))) {
    const field = root?.querySelector<HTMLElement>(`[data-pointer="${CSS.escape(path)}"]`);
    const control = field?.querySelector<HTMLElement>("input, select, textarea");
    if (!control) continue;
    field?.closest("details")?.setAttribute("open", "");
    control.focus();
    control.scrollIntoView({ block: "nearest" });
    return;
  }
}

/** The variables that the document names and the gateway has no value of, with what was typed for them. */
function wanted(faults: readonly PipelineFault[]): Record<string, string> {
  const found = { ...variables.value };
  for (const { reason, pointer } of faults) {
    const value = reason === "missing-variable" ? valueAt(editor.document.value, pointer) : undefined;
    for (const [, name] of words(value).matchAll(/(?<!\$)\$\{(\w+)\}/g)) found[name!] ??= "";
  }
  return found;
}
