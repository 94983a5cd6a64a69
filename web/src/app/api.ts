/** The HTTP API under /v1. Every function raises ApiError. */
import { call } from "./http.ts";
import type { Deployment, Gpus, NodeType, Server } from "./catalogue.ts";
import type { PipelineDocument, PipelineFault, RunDetail, RunRecord, RunState } from "./types.ts";

export { ApiError } from "./http.ts";

export interface StartOptions {
  /** A document, or "@NAME" of a deployed pipeline. */
  pipeline: PipelineDocument | string;
  input?: unknown;
  inputs?: unknown[];
  open_input?: boolean;
  settings?: Record<string, unknown>;
  variables?: Record<string, string>;
  timeout?: number;
  /** The source that it takes, of a pipeline with several. */
  source?: string;
  trace?: string;
  session?: string;
}

const path = (...parts: string[]): string => "/v1/" + parts.map(encodeURIComponent).join("/");

function query(fields: Record<string, string | number | undefined>): string {
  const given = Object.entries(fields).filter(([, value]) => value !== undefined && value !== "");
  return given.length ? "?" + new URLSearchParams(given.map(([name, value]) => [name, String(value)])).toString() : "";
}

export const api = {
  startRun: (options: StartOptions) => call<{ run_id: string }>("POST", path("runs"), options),
  runs: (fields: { limit?: number; state?: RunState | ""; deployment?: string; page?: string } = {}, abort?: AbortSignal) =>
    call<{ runs: RunRecord[]; next_page?: string }>("GET", path("runs") + query(fields), undefined, abort),
  run: (id: string, abort?: AbortSignal) => call<RunDetail>("GET", path("runs", id), undefined, abort),
  eventsPath: (id: string, after = 0) => path("runs", id, "events") + (after ? `?after=${after}` : ""),
  pushInput: (id: string, body: { value?: unknown; values?: unknown[]; port?: string; end?: boolean }) =>
    call<void>("POST", path("runs", id, "input"), body),
  cancelRun: (id: string, reason: string) => call<{ state: RunState }>("POST", path("runs", id, "cancel"), { reason }),
  decide: (id: string, callId: string, body: { approved: boolean; reason?: string; component?: string }) =>
    call<void>("POST", path("runs", id, "approvals", callId), body),

  deployments: (abort?: AbortSignal) => call<{ deployments: Deployment[] }>("GET", path("deployments"), undefined, abort),
  deployment: (name: string, version?: number) =>
    call<Deployment>("GET", path("deployments", name) + query({ version })),
  deploy: (name: string, body: { pipeline: PipelineDocument; settings?: Record<string, unknown>; timeout?: number }) =>
    call<Deployment>("PUT", path("deployments", name), body),
  undeploy: (name: string) => call<void>("DELETE", path("deployments", name)),

  nodeTypes: (abort?: AbortSignal) => call<{ node_types: NodeType[] }>("GET", path("node-types"), undefined, abort),
  nodeType: (name: string, abort?: AbortSignal) => call<NodeType>("GET", path("node-types", name), undefined, abort),
  servers: (abort?: AbortSignal) => call<{ servers: Server[] }>("GET", path("servers"), undefined, abort),
  gpus: (abort?: AbortSignal) => call<Gpus>("GET", path("gpus"), undefined, abort),
  validate: (pipeline: unknown, variables: Record<string, string> = {}, abort?: AbortSignal) =>
    call<{ faults: PipelineFault[] }>("POST", path("validate"), Object.keys(variables).length ? { pipeline, variables } : { pipeline }, abort),
};
