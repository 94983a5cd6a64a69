/** The runs of the mesh, the latest first: live, filtered by state, deployment and text. */
import { useEffect, useMemo, useState } from "preact/hooks";
import { api } from "../app/api.ts";
import { ago, between, clock, count, seconds } from "../app/format.ts";
import { notifyError } from "../app/notices.tsx";
import { useResource } from "../app/resource.ts";
import { go, href, route, setQuery } from "../app/router.ts";
import { useShortcuts } from "../app/shortcuts.tsx";
import type { RunRecord, RunState } from "../app/types.ts";
import { Empty, Loading } from "../widgets/empty.tsx";
import { ErrorLine } from "../widgets/fault_box.tsx";
import { StateBadge } from "../widgets/state_badge.tsx";
import "./runs.css";

const RELOAD = 2_000;
const PAGE = 50;
const STATES: readonly RunState[] = ["starting", "running", "completed", "failed", "cancelled"];

export function RunsView() {
  const { query } = route.value;
  const state = (STATES.find((one) => one === query.get("state")) ?? "") as RunState | "";
  const deployment = query.get("deployment") ?? "";
  const text = query.get("text") ?? "";
  const first = useResource((abort) => api.runs({ limit: PAGE, state, deployment }, abort), [state, deployment], RELOAD);
  const [older, setOlder] = useState<{ runs: RunRecord[]; next: string | undefined }>();
  useEffect(() => setOlder(undefined), [state, deployment]);
  useShortcuts([{ keys: "/", label: "Search the runs", run: () => document.getElementById("runs-text")?.focus() }]);

  const runs = useMemo(() => {
    const all = new Map([...(older?.runs ?? []), ...(first.value?.runs ?? [])].map((run) => [run.run_id, run]));
    return [...all.values()].filter((run) => matches(run, text)).sort((a, b) => (b.created_at ?? "").localeCompare(a.created_at ?? ""));
  }, [first.value, older, text]);
  const next = older ? older.next : first.value?.next_page;
  const more = async (): Promise<void> => {
    try {
      const page = await api.runs({ limit: PAGE, state, deployment, ...(next ? { page: next } : {}) });
      setOlder((before) => ({ runs: [...(before?.runs ?? first.value?.runs ?? []), ...page.runs], next: page.next_page }));
    } catch (error) {
      notifyError(error);
    }
  };
  return (
    <div class="page">
      <header class="page-head">
        <h1>Runs</h1>
        <div class="end">
          <label>
            <span class="hidden-visually">Search</span>
            <input
              id="runs-text"
              type="search"
              placeholder="Name, id or error"
              value={text}
              onInput={(event) => setQuery("text", event.currentTarget.value)}
            />
          </label>
          <label>
            <span class="hidden-visually">State</span>
            <select value={state} onChange={(event) => setQuery("state", event.currentTarget.value)}>
              <option value="">All states</option>
              {STATES.map((one) => (
                <option value={one}>{one}</option>
              ))}
            </select>
          </label>
          <DeploymentFilter current={deployment} />
        </div>
      </header>
      <ErrorLine error={first.error} />
      {!first.value && !first.error && <Loading />}
      {first.value && !runs.length && <NoRuns filtered={Boolean(state || deployment || text)} />}
      {runs.length > 0 && <RunTable runs={runs} />}
      {next && (
        <button class="button start" onClick={() => void more()}>
          Show older runs
        </button>
      )}
    </div>
  );
}

function matches(run: RunRecord, text: string): boolean {
  const wanted = text.trim().toLowerCase();
  if (!wanted) return true;
  return [run.run_id, run.name, run.deployment, run.error?.message, run.reason].some((one) => one?.toLowerCase().includes(wanted));
}

function DeploymentFilter({ current }: { current: string }) {
  const found = useResource((abort) => api.deployments(abort), []);
  const names = (found.value?.deployments ?? []).map((one) => one.name);
  if (current && !names.includes(current)) names.push(current);
  if (!names.length) return null;
  return (
    <label>
      <span class="hidden-visually">Deployment</span>
      <select value={current} onChange={(event) => setQuery("deployment", event.currentTarget.value)}>
        <option value="">All pipelines</option>
        {names.map((one) => (
          <option value={one}>@{one}</option>
        ))}
      </select>
    </label>
  );
}

function NoRuns({ filtered }: { filtered: boolean }) {
  if (filtered) return <Empty title="No run matches the filter" />;
  return (
    <Empty title="No runs yet">
      <p>
        Chat with a deployed pipeline, run one in the editor, or start one by <code>lanemesh run --mesh</code> or the API.
      </p>
      <div class="row">
        <a class="button primary" href={href("chat")}>
          Chat
        </a>
        <a class="button" href={href("deployments")}>
          Deploy a pipeline
        </a>
      </div>
    </Empty>
  );
}

function RunTable({ runs }: { runs: RunRecord[] }) {
  return (
    <div class="list-frame">
      <table class="table runs">
        <thead>
          <tr>
            <th scope="col">Pipeline</th>
            <th scope="col">State</th>
            <th scope="col">Started</th>
            <th scope="col" class="right">
              Took
            </th>
            <th scope="col" class="right">
              Outputs
            </th>
          </tr>
        </thead>
        <tbody>
          {runs.map((run) => (
            <Row key={run.run_id} run={run} />
          ))}
        </tbody>
      </table>
    </div>
  );
}

function Row({ run }: { run: RunRecord }) {
  const ended = run.state !== "starting" && run.state !== "running";
  const why = run.error?.message ?? run.reason;
  return (
    <tr onClick={(event) => (event.target as Element).closest("a") || go("runs", run.run_id)}>
      <td>
        <a class="run-name" href={href("runs", run.run_id)}>
          {run.name || run.deployment || run.run_id}
        </a>
        <span class="faint mono run-id">{run.run_id}</span>
        {run.deployment && <span class="soft"> @{run.deployment}</span>}
        {why && <p class={run.state === "failed" ? "why bad" : "why"}>{why}</p>}
      </td>
      <td>
        <StateBadge state={run.state} />
      </td>
      <td class="number soft" title={clock(run.created_at)}>
        {ago(run.created_at)}
      </td>
      <td class="number right soft">{seconds(between(run.created_at, ended ? run.ended_at : undefined))}</td>
      <td class="number right soft">{count(run.output_count ?? 0)}</td>
    </tr>
  );
}
