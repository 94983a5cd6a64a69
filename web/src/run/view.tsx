/** One run, live: its graph, what holds it up, outputs, the acts of its agents, times and log. */
import { useCallback, useEffect, useMemo, useState } from "preact/hooks";
import { api } from "../app/api.ts";
import { between, clock, count, plural, seconds } from "../app/format.ts";
import { Icon } from "../app/icons.tsx";
import { notifyError } from "../app/notices.tsx";
import { href, route, setQuery } from "../app/router.ts";
import { useShortcuts } from "../app/shortcuts.tsx";
import { ApprovalCard } from "../widgets/approval_card.tsx";
import { ErrorLine, FaultBox } from "../widgets/fault_box.tsx";
import { StateBadge } from "../widgets/state_badge.tsx";
import { Tabs } from "../widgets/tabs.tsx";
import { RunAgain } from "./again.tsx";
import { AgentPanel } from "./agent_panel.tsx";
import { Details } from "./details.tsx";
import { Graph, type Selection } from "./graph.tsx";
import { findHoldup, type Holdup } from "./holdup.ts";
import { LogPanel } from "./log_panel.tsx";
import { OutputPanel } from "./output_panel.tsx";
import "./run.css";
import { approvalKey, type RunModel } from "./run_model.ts";
import { useRun, useTick, type RunStore } from "./run_store.ts";
import { TimelinePanel } from "./timeline_panel.tsx";

export function RunView({ id }: { id: string }) {
  const store = useRun(id);
  const { model } = store;
  useTick(model);
  const [again, setAgain] = useState(false);
  const [selection, setSelection] = useState<Selection>();
  const select = useCallback((next: Selection) => setSelection(next), []);
  const holdup = useHoldup(model);
  const cancel = async (): Promise<void> => {
    try {
      await api.cancelRun(id, "cancelled on the page");
    } catch (error) {
      notifyError(error);
    }
  };
  useShortcuts([
    { keys: "a", label: "Run again", run: () => setAgain(true) },
    { keys: "x", label: "Close the details", run: () => setSelection(undefined) },
  ]);
  useEffect(() => {
    document.title = `${model.name || id} · ${model.state} · Lanemesh`;
  }, [model.name, model.state]);
  if (store.connection.value === "failed" && !model.lastSequence && !model.createdAt) {
    return (
      <div class="page">
        <h1>This run cannot be shown</h1>
        <ErrorLine error={{ message: store.error.value }} />
        <p>
          <a href={href("runs")}>All runs</a>
        </p>
      </div>
    );
  }
  const open = [...model.approvals.values()].filter((one) => one.state === "requested" && !model.ended);
  return (
    <div class="page run-page">
      <header class="page-head">
        <div>
          <p class="crumbs">
            <a href={href("runs")}>Runs</a> <span aria-hidden="true">/</span> <span class="mono">{id}</span>
          </p>
          <div class="row">
            <h1>{model.name || model.deployment || "Run"}</h1>
            <StateBadge state={model.state} />
            <Connection store={store} />
          </div>
        </div>
        <div class="end">
          {!model.ended && (
            <button class="button danger" onClick={() => void cancel()}>
              <Icon name="stop" size={16} />
              Cancel
            </button>
          )}
          <button class="button" disabled={!model.document && !model.deployment} onClick={() => setAgain(true)}>
            <Icon name="again" size={16} />
            Run again
          </button>
        </div>
      </header>
      <Facts model={model} state={model.complete ? "complete" : model.state} />
      <ErrorLine error={store.error.value ? { message: store.error.value } : undefined} />
      <Failure model={model} onSelect={select} />
      {open.map((approval) => (
        <ApprovalCard key={approvalKey(approval)} runId={id} approval={approval} />
      ))}
      {model.nodes.size > 0 && (
        <section class={selection ? "graph-area with-details" : "graph-area"} aria-label="Graph">
          <div class="graph-column">
            {holdup && <HoldupLine holdup={holdup} onSelect={select} />}
            <Graph model={model} holdup={holdup} selection={selection} onSelect={select} />
          </div>
          <Details model={model} selection={selection} onSelect={select} />
        </section>
      )}
      <Panels model={model} onSelect={select} />
      {again && <RunAgain model={model} onClose={() => setAgain(false)} />}
    </div>
  );
}

/** Looks for it at most five times a second, so that the words can be read. */
function useHoldup(model: RunModel): Holdup | undefined {
  const turn = Math.floor(performance.now() / 200);
  return useMemo(() => findHoldup(model), [turn, model.state, model.approvals.size]);
}

/** Drawn once a second, and when the state changes: the numbers can then be read. */
function Facts({ model }: { model: RunModel; state: string }) {
  const [, setNow] = useState(0);
  useEffect(() => {
    if (model.complete) return;
    const timer = setInterval(() => setNow(Date.now()), 1000);
    return () => clearInterval(timer);
  }, [model.complete]);
  const since = model.startedAt ?? model.createdAt;
  const gone = model.gaps.reduce((sum, gap) => sum + gap.to - gap.from + 1, 0);
  const facts = [
    since && `${clock(since)}`,
    since && seconds(between(since, model.ended ? model.endedAt : undefined)),
    model.deployment && `deployed as @${model.deployment}`,
    model.inputCount > 0 && plural(model.inputCount, "input"),
    `${model.updateCount.toLocaleString("en")} updates`,
    gone > 0 && `${count(gone)} updates are no longer kept`,
    model.state === "cancelled" && model.reason,
  ].filter(Boolean);
  return <p class="facts soft number">{facts.join("  ·  ")}</p>;
}

function Connection({ store }: { store: RunStore }) {
  const state = store.connection.value;
  if (state === "ended" || state === "failed") return null;
  const words = { connecting: "connecting", open: "live", waiting: "connecting again" }[state];
  return (
    <span class={state === "open" ? "connection soft" : "connection waiting"} role="status">
      <span class={state === "open" ? "dot done" : "dot waiting"} aria-hidden="true" />
      {words}
    </span>
  );
}

/** The cause first; failures that are consequences below it. */
function Failure({ model, onSelect }: { model: RunModel; onSelect(selection: Selection): void }) {
  useTick(model);
  if (model.state !== "failed" || !model.error) return null;
  const cause = model.failures.find((one) => !one.error.secondary) ?? model.failures[0];
  const node = cause && model.nodes.get(cause.component);
  const others = model.failures.filter((one) => one !== cause);
  const fault = cause?.error.traceback && !model.error.traceback ? { ...model.error, traceback: cause.error.traceback } : model.error;
  const where = node && (
    <>
      <button class="link mono" onClick={() => onSelect({ kind: "node", id: node.id })}>
        {node.id}
      </button>{" "}
      of the node type <a href={href("types", node.provider)}>{node.provider}</a>
      {node.placement && <> on the server {node.placement.server}</>}
    </>
  );
  return (
    <div class="stack">
      <FaultBox fault={fault} title={node ? `${node.id} failed` : "The run failed"} where={where} />
      {others.length > 0 && (
        <details class="consequences">
          <summary>{plural(others.length, "other failure")}, as consequences</summary>
          <ul>
            {others.slice(0, 50).map((one) => (
              <li key={one.component}>
                <button class="link mono" onClick={() => onSelect({ kind: "node", id: one.component })}>
                  {one.component}
                </button>{" "}
                {one.error.message}
              </li>
            ))}
          </ul>
        </details>
      )}
    </div>
  );
}

function HoldupLine({ holdup, onSelect }: { holdup: Holdup; onSelect(selection: Selection): void }) {
  return (
    <button class="holdup-line" onClick={() => onSelect({ kind: "node", id: holdup.node })}>
      <strong>{holdup.title}</strong>
      <span>{holdup.evidence.join(" ")}</span>
    </button>
  );
}

function Panels({ model, onSelect }: { model: RunModel; onSelect(selection: Selection): void }) {
  useTick(model);
  const tabs = [
    { name: "output", title: "Output" },
    { name: "agents", title: "Agents", count: model.tools.length },
    { name: "timeline", title: "Timeline" },
    { name: "log", title: "Log", count: model.log.length },
  ];
  const asked = route.value.query.get("tab") ?? "";
  const current = tabs.some((one) => one.name === asked) ? asked : "output";
  return (
    <section class="stack" aria-label="Results">
      <Tabs tabs={tabs} current={current} label="Results of the run" onSelect={(name) => setQuery("tab", name)} />
      <div role="tabpanel" id={`panel-${current}`} aria-labelledby={`tab-${current}`} tabIndex={0}>
        {current === "output" && <OutputPanel model={model} />}
        {current === "agents" && <AgentPanel model={model} />}
        {current === "timeline" && <TimelinePanel model={model} onSelect={onSelect} />}
        {current === "log" && <LogPanel model={model} />}
      </div>
    </section>
  );
}
