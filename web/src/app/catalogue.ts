/** What a mesh offers: deployments, node types and servers, as the HTTP API describes them. */
import type { PipelineDocument, Placement } from "./types.ts";

export interface Deployment {
  name: string;
  version: number;
  state: "ready" | "warming" | "degraded" | "superseded";
  detail?: string;
  created_at?: string;
  active_runs?: number;
  placements?: Placement[];
  pipeline?: PipelineDocument;
}

export interface Port {
  name: string;
  /** The lane type that it carries; without it: that of the config, or any. */
  lane?: string;
  description?: string;
  required?: boolean;
  list?: boolean;
  assembled?: boolean;
  multiplicity?: string;
}

export interface Invocation {
  /** The kind of helper: "llm", "tool", "memory" or "agent". */
  class_type: string;
  min?: number;
  max?: number;
  name?: string;
}

/** A GPU; sizes in bytes. */
export interface Gpu {
  id: string;
  name: string;
  memory_bytes: number;
  free_bytes: number;
  leased_bytes: number;
  model_bytes: number;
  other_bytes: number;
  observed: boolean;
  models: { name: string; memory_bytes: number; idle_seconds: number | null; unloading: boolean }[];
}

/** A lease of a GPU, or a request that waits for one. */
export interface GpuLease {
  id: string;
  state: "held" | "yielded" | "kept" | "waiting" | "resuming";
  device: string;
  component: string;
  run_id: string;
  server: string;
  seconds: number;
  peak_bytes: number;
  model: string;
  purpose: string;
  position: number;
  eta_seconds: number | null;
  reason: string;
}

export interface Gpus {
  devices: Gpu[];
  leases: GpuLease[];
  waiting: GpuLease[];
}

export interface NodeType {
  /** Its name, which a component names as its `provider`. */
  provider: string;
  version?: string;
  description?: string;
  service?: string;
  aliases?: string[];
  inputs?: Port[];
  outputs?: Port[];
  config_schema?: JsonSchema;
  profiles?: Record<string, unknown>;
  invokes?: Invocation[];
  /** The kinds of helper that it serves as. */
  offers?: string[];
  boundary?: "source" | "target" | null;
  sync_mode?: string;
  is_streaming_input?: boolean;
  is_streaming_output?: boolean;
  restartable?: boolean;
  runs_to_end?: boolean;
  /** The extra of the Python package that installs its libraries. */
  extra?: string;
  packages?: string[];
  /** The packages that no node server that offers it has. */
  missing_packages?: string[];
}

export interface JsonSchema {
  type?: string | string[];
  title?: string;
  description?: string;
  default?: unknown;
  enum?: unknown[];
  properties?: Record<string, JsonSchema>;
  required?: string[];
  items?: JsonSchema;
  [key: string]: unknown;
}

export interface Server {
  name: string;
  address?: string;
  health?: string;
  health_detail?: string;
  active_instances?: number;
  /** The most components that it hosts; 0: no limit. */
  max_instances?: number;
  pid?: number;
  labels?: Record<string, string>;
  node_types?: string[];
  conflicting_node_types?: string[];
  replaced_node_types?: string[];
  /** The orchestrator was given its address; otherwise the server has joined. */
  static?: boolean;
}

export const firstLine = (text: string | undefined): string => (text ?? "").trim().split("\n")[0] ?? "";

/** The node types that have all words of a text in their names, descriptions, lanes or kinds of helper. */
export function typesWith(types: readonly NodeType[], text: string): NodeType[] {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const haystack = (one: NodeType): string => {
    const lanes = [...(one.inputs ?? []), ...(one.outputs ?? [])].map((port) => port.lane);
    return [one.provider, one.service, one.description, ...(one.aliases ?? []), ...lanes, ...(one.offers ?? [])].join(" ").toLowerCase();
  };
  return types.filter((one) => words.every((word) => haystack(one).includes(word)));
}
