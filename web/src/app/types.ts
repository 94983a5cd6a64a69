/** The objects of the HTTP API. */

export type RunState = "starting" | "running" | "completed" | "failed" | "cancelled";
export type NodeState = "starting" | "running" | "waiting" | "completed" | "skipped" | "failed" | "cancelled";
export type ApprovalState = "requested" | "approved" | "refused" | "withdrawn";

export interface Fault {
  code: string;
  reason: string;
  message: string;
  details?: Record<string, string>;
  secondary?: boolean;
  traceback?: string;
}

export interface Placement {
  component: string;
  provider: string;
  server: string;
  address?: string;
  pid?: number;
  earlier?: Placement[];
}

/** A lane, or with `class_type` a control connection. */
export interface EdgeShape {
  edge?: string;
  producer: string;
  consumer: string;
  output?: string;
  input?: string;
  lane?: string;
  class_type?: string;
}

export interface Media {
  mime_type: string;
  bytes?: number;
  uri?: string;
  content?: string;
  width?: number;
  height?: number;
}

/** A document, or a chunk of one. `file`: the file itself, where its text has not been read. */
export interface DocumentValue {
  content: string;
  id?: string;
  source?: string;
  score?: number;
  chunk_index?: number;
  metadata?: Record<string, unknown>;
  embedding?: number[];
  file?: Media;
}

interface Numbered {
  sequence: number;
  time: string;
}

export interface JobUpdate extends Numbered {
  update: "job";
  run_id: string;
  state: RunState;
  error?: Fault;
  reason?: string;
  placements?: Placement[];
  edges?: EdgeShape[];
  input_count?: number;
  inputs?: { port?: string; lane: string; size: number; summary: string }[];
}
export interface NodeUpdate extends Numbered {
  update: "node";
  component: string;
  state: NodeState;
  firings: number;
  skipped_firings?: number;
  retried_firings?: number;
  waiting?: number;
  busy?: number;
  blocked?: number;
  detail?: string;
  placement?: Placement;
  error?: Fault;
}
export interface EdgeUpdate extends Numbered {
  update: "edge";
  edge: string;
  sent: number;
  consumed: number;
  buffered: number;
  drained: boolean;
  limit_items: number;
  growths?: number;
  detail?: string;
}
export interface OutputUpdate extends Numbered {
  update: "output";
  component: string;
  port: string;
  lane?: string;
  value?: unknown;
  group?: string;
  index?: number;
  last?: boolean;
  outcome?: string;
  metadata?: Record<string, string>;
}
export interface ProgressUpdate extends Numbered {
  update: "progress";
  component: string;
  done: number;
  total?: number;
  message?: string;
}
export interface ToolUpdate extends Numbered {
  update: "tool";
  component: string;
  wave: number;
  event: "thought" | "call" | "result" | "progress";
  text?: string;
  call_id?: string;
  tool?: string;
  arguments?: unknown;
  content?: unknown;
  is_error?: boolean;
  seconds?: number;
  message?: string;
  fraction?: number;
}
export interface HelperUpdate extends Numbered {
  update: "helper";
  component: string;
  calls: number;
  active_calls?: number;
  failed_calls?: number;
  prompt_tokens?: number;
  completion_tokens?: number;
  cost?: number;
}
export interface LogUpdate extends Numbered {
  update: "log";
  component: string;
  level: "debug" | "info" | "warning" | "error";
  message: string;
}
export interface TraceUpdate extends Numbered {
  update: "trace";
  edge: string;
  number?: number;
  lane?: string;
  size?: number;
  summary?: string;
  value?: unknown;
  left_out?: number;
}
export interface Approval {
  component: string;
  call_id: string;
  state: ApprovalState;
  tool?: string;
  description?: string;
  reason?: string;
  arguments?: unknown;
  deadline?: string;
}
export interface ApprovalUpdate extends Numbered, Approval {
  update: "approval";
}

export type Update =
  | JobUpdate
  | NodeUpdate
  | EdgeUpdate
  | OutputUpdate
  | ProgressUpdate
  | ToolUpdate
  | HelperUpdate
  | LogUpdate
  | TraceUpdate
  | ApprovalUpdate;

/** Updates that the mesh no longer keeps. */
export interface Gap {
  from: number;
  to: number;
}

export interface ComponentEntry {
  id: string;
  provider: string;
  name?: string;
  config?: Record<string, unknown>;
  input?: { lane: string; from: string; [key: string]: unknown }[];
  control?: { classType?: string; from?: string; [key: string]: unknown }[];
  ui?: Record<string, unknown>;
  [key: string]: unknown;
}
export interface PipelineDocument {
  name?: string;
  description?: string;
  components: ComponentEntry[];
  source?: string;
  [key: string]: unknown;
}

export interface RunRecord {
  run_id: string;
  name?: string;
  state: RunState;
  created_at?: string;
  started_at?: string;
  ended_at?: string;
  error?: Fault;
  reason?: string;
  deployment?: string;
  deployment_version?: number;
  detached?: boolean;
  trace?: string;
  last_sequence?: number;
  output_count?: number;
  stored?: boolean;
}
export interface RunDetail extends RunRecord {
  pipeline?: PipelineDocument;
  placements?: Placement[];
  approvals?: Approval[];
}

export interface PipelineFault {
  pointer: string;
  reason: string;
  message: string;
  hint: string;
  severity: "error" | "warning";
}

/** An RFC 9457 problem. */
export interface Problem {
  type?: string;
  title: string;
  status: number;
  detail: string;
  faults?: PipelineFault[];
  details?: Record<string, string>;
}
