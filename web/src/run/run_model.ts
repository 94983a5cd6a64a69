/**
 * The live state of one run, folded from its updates. It is a plain object that views read once per frame, so that thousands of
 * updates a second cost no rendering. All of it is bounded: old pieces are dropped and counted.
 */
import type {
  Approval,
  EdgeShape,
  EdgeUpdate,
  Fault,
  Gap,
  HelperUpdate,
  JobUpdate,
  LogUpdate,
  NodeState,
  NodeUpdate,
  OutputUpdate,
  PipelineDocument,
  Placement,
  ProgressUpdate,
  RunDetail,
  RunState,
  ToolUpdate,
  TraceUpdate,
  Update,
} from "../app/types.ts";
import { FrameClock } from "../app/frame.ts";
import { appendOutput, type OutputStream } from "./outputs.ts";
import { Ring } from "./ring.ts";
import { Timeline } from "./timeline_data.ts";

const MOST_LOG_LINES = 1_000;
const MOST_EVENTS = 500;
const MOST_TRACES = 20;
const MOST_STREAMS = 200;
const MOST_SAMPLES = 600;
/** Most characters of a log line, and of a result of a tool that is text. */
const MOST_LINE = 20_000;
const MOST_RESULT = 200_000;
/** Most bytes of traced items that are kept with their values; of further ones the summary is kept. */
const MOST_TRACED = 64 * 1024 * 1024;

export interface NodeModel {
  id: string;
  /** Moves with every change, so that a drawn node is drawn again only if it has changed. */
  revision: number;
  provider: string;
  state: NodeState;
  detail: string;
  firings: number;
  skippedFirings: number;
  retriedFirings: number;
  /** Seconds so far. */
  waiting: number;
  busy: number;
  blocked: number;
  error: Fault | undefined;
  placement: Placement | undefined;
  progress: ProgressUpdate | undefined;
  helper: HelperUpdate | undefined;
  timeline: Timeline;
}

export interface EdgeModel {
  id: string;
  revision: number;
  shape: EdgeShape;
  sent: number;
  consumed: number;
  buffered: number;
  limit: number;
  drained: boolean;
  growths: number;
  detail: string;
  /** Items a second that the consumer took lately. */
  rate: number;
  rateTime: number;
  rateCount: number;
  /** How full it was lately: a mean of its last reports, from 0 to 1. */
  fullness: number;
  traces: Ring<TraceUpdate>;
}

/** An event of an agent; a call has its result once it is there. */
export interface ToolEvent {
  key: string;
  revision: number;
  component: string;
  wave: number;
  time: string;
  kind: "thought" | "call";
  text: string;
  callId: string;
  tool: string;
  arguments: unknown;
  result: { content: unknown; isError: boolean; seconds: number } | undefined;
  progress: { message: string; fraction: number | undefined } | undefined;
}

export interface Sample {
  /** Seconds since the epoch. */
  time: number;
  /** Items that all edges have carried, and that wait in them. */
  consumed: number;
  buffered: number;
}

export class RunModel {
  readonly id: string;
  /** The clock by which it is drawn; `useTick` reads it. */
  readonly clock = new FrameClock();
  state: RunState = "starting";
  error: Fault | undefined;
  reason = "";
  name = "";
  deployment = "";
  document: PipelineDocument | undefined;
  createdAt: string | undefined;
  startedAt: string | undefined;
  endedAt: string | undefined;
  inputCount = 0;
  inputs: NonNullable<JobUpdate["inputs"]> = [];
  /** The last update is there. The record may say earlier that the run has ended. */
  complete = false;
  lastSequence = 0;
  lastTime = "";
  updateCount = 0;
  gaps: Gap[] = [];
  /** Moves when nodes or edges are added: then the graph is laid out again. */
  shapeRevision = 0;
  readonly nodes = new Map<string, NodeModel>();
  readonly edges = new Map<string, EdgeModel>();
  readonly outputs = new Map<string, OutputStream>();
  readonly tools = new Ring<ToolEvent>(MOST_EVENTS);
  readonly approvals = new Map<string, Approval>();
  readonly log = new Ring<LogUpdate>(MOST_LOG_LINES);
  readonly samples = new Ring<Sample>(MOST_SAMPLES);
  /** The errors of nodes in the order of their arrival. */
  readonly failures: { component: string; error: Fault }[] = [];
  private tracedBytes = 0;
  private readonly calls = new Map<string, ToolEvent>();

  constructor(id: string) {
    this.id = id;
  }

  get ended(): boolean {
    return this.state !== "starting" && this.state !== "running";
  }

  /** Takes over the record of the run: its document, placements and open approvals. */
  describe(record: RunDetail): void {
    this.name = record.name ?? "";
    this.deployment = record.deployment ?? "";
    this.createdAt = record.created_at;
    this.startedAt ??= record.started_at;
    this.endedAt ??= record.ended_at;
    if (record.pipeline) {
      this.document = record.pipeline;
      for (const component of record.pipeline.components) this.node(component.id).provider ||= component.provider;
      this.shapeRevision++;
    }
    for (const placement of record.placements ?? []) this.place(placement);
    for (const approval of record.approvals ?? []) {
      const key = approvalKey(approval);
      if (!this.approvals.has(key)) this.approvals.set(key, approval);
    }
    if (!this.lastSequence) {
      this.state = record.state;
      this.error = record.error;
      this.reason = record.reason ?? "";
    }
  }

  /** Adds an update. One that is not newer than the last one is ignored: after a reconnection nothing counts twice. */
  fold(update: Update): void {
    if (update.sequence <= this.lastSequence) return;
    this.lastSequence = update.sequence;
    this.lastTime = update.time;
    this.updateCount++;
    switch (update.update) {
      case "job":
        return this.foldJob(update);
      case "node":
        return this.foldNode(update);
      case "edge":
        return this.foldEdge(update);
      case "output":
        return this.foldOutput(update);
      case "progress":
        return this.changeNode(update.component, (node) => (node.progress = update));
      case "helper":
        return this.changeNode(update.component, (node) => (node.helper = update));
      case "tool":
        return this.foldTool(update);
      case "approval":
        return void this.approvals.set(approvalKey(update), { ...this.approvals.get(approvalKey(update)), ...update });
      case "log":
        return void this.log.push({ ...update, message: update.message.slice(0, MOST_LINE) });
      case "trace":
        return this.foldTrace(update);
    }
  }

  foldGap(gap: Gap): void {
    this.gaps.push(gap);
    this.lastSequence = Math.max(this.lastSequence, gap.to);
  }

  node(id: string): NodeModel {
    let node = this.nodes.get(id);
    if (!node) {
      node = {
        id,
        revision: 0,
        provider: "",
        state: "starting",
        detail: "",
        firings: 0,
        skippedFirings: 0,
        retriedFirings: 0,
        waiting: 0,
        busy: 0,
        blocked: 0,
        error: undefined,
        placement: undefined,
        progress: undefined,
        helper: undefined,
        timeline: new Timeline(),
      };
      this.nodes.set(id, node);
      this.shapeRevision++;
    }
    return node;
  }

  private changeNode(id: string, change: (node: NodeModel) => void): void {
    const node = this.node(id);
    change(node);
    node.revision++;
  }

  private place(placement: Placement): void {
    this.changeNode(placement.component, (node) => {
      node.placement = placement;
      node.provider ||= placement.provider;
    });
  }

  private foldJob(update: JobUpdate): void {
    this.state = update.state;
    if (update.error) this.error = update.error;
    if (update.reason) this.reason = update.reason;
    if (update.input_count) this.inputCount = update.input_count;
    if (update.inputs) this.inputs = update.inputs;
    if (update.state === "starting") this.createdAt ??= update.time;
    if (update.state === "running") this.startedAt = update.time;
    if (this.ended) {
      this.endedAt = update.time;
      this.complete = true;
    }
    for (const placement of update.placements ?? []) this.place(placement);
    for (const shape of update.edges ?? []) this.addEdge(shape);
    if (this.ended || update.state === "running") this.settleNodes();
  }

  /** Helpers report calls and no states: they are as the run is. */
  private settleNodes(): void {
    const state = !this.ended ? "running" : this.state === "completed" ? "completed" : "cancelled";
    for (const node of this.nodes.values()) {
      if (this.ended ? ["starting", "running", "waiting"].includes(node.state) : node.state === "starting") {
        node.state = state;
        node.revision++;
      }
    }
  }

  private addEdge(shape: EdgeShape): void {
    const id = edgeKey(shape);
    this.node(shape.producer);
    this.node(shape.consumer);
    const edge = this.edges.get(id);
    if (edge) {
      edge.shape = shape;
      return;
    }
    this.edges.set(id, {
      id,
      revision: 0,
      shape,
      sent: 0,
      consumed: 0,
      buffered: 0,
      limit: 0,
      drained: false,
      growths: 0,
      detail: "",
      rate: 0,
      rateTime: 0,
      rateCount: 0,
      fullness: 0,
      traces: new Ring(MOST_TRACES),
    });
    this.shapeRevision++;
  }

  private foldNode(update: NodeUpdate): void {
    this.changeNode(update.component, (node) => {
      node.state = update.state;
      node.detail = update.detail ?? "";
      node.firings = update.firings;
      node.skippedFirings = update.skipped_firings ?? 0;
      node.retriedFirings = update.retried_firings ?? 0;
      node.waiting = update.waiting ?? node.waiting;
      node.busy = update.busy ?? node.busy;
      node.blocked = update.blocked ?? node.blocked;
      if (update.placement) node.placement = update.placement;
      if (update.error) {
        node.error = update.error;
        this.failures.push({ component: update.component, error: update.error });
      }
      node.timeline.add(Date.parse(update.time) / 1000, node);
    });
  }

  private foldEdge(update: EdgeUpdate): void {
    const edge = this.edges.get(update.edge);
    if (!edge) return; // its shape comes with "running"
    const time = Date.parse(update.time) / 1000;
    const span = time - edge.rateTime;
    if (!edge.rateTime) {
      edge.rateTime = time;
      edge.rateCount = update.consumed;
    } else if (span >= 0.5) {
      const latest = (update.consumed - edge.rateCount) / span;
      edge.rate = edge.rate ? edge.rate * 0.4 + latest * 0.6 : latest;
      edge.rateTime = time;
      edge.rateCount = update.consumed;
    }
    edge.sent = update.sent;
    edge.consumed = update.consumed;
    edge.buffered = update.buffered;
    edge.limit = update.limit_items;
    edge.drained = update.drained;
    const fill = update.limit_items && !update.drained ? Math.min(1, update.buffered / update.limit_items) : 0;
    edge.fullness = update.drained ? 0 : edge.fullness * 0.6 + fill * 0.4;
    if (update.drained) edge.rate = 0;
    edge.growths = update.growths ?? 0;
    edge.detail = update.detail ?? "";
    edge.revision++;
    this.sample(time);
  }

  private sample(time: number): void {
    const last = this.samples.last();
    if (last && time - last.time < 0.5) return;
    let consumed = 0;
    let buffered = 0;
    for (const edge of this.edges.values()) {
      consumed += edge.consumed;
      buffered += edge.buffered;
    }
    this.samples.push({ time, consumed, buffered });
  }

  private foldOutput(update: OutputUpdate): void {
    const key = `${update.component}\n${update.port}`;
    let stream = this.outputs.get(key);
    if (!stream) {
      if (this.outputs.size >= MOST_STREAMS) return;
      stream = { key, component: update.component, port: update.port, count: 0, dropped: 0, revision: 0, media: 0, blocks: [] };
      this.outputs.set(key, stream);
    }
    appendOutput(stream, update);
  }

  private foldTool(update: ToolUpdate): void {
    const callKey = `${update.component}\n${update.call_id}`;
    if (update.event === "thought" || update.event === "call") {
      const event: ToolEvent = {
        key: String(update.sequence),
        revision: 0,
        component: update.component,
        wave: update.wave,
        time: update.time,
        kind: update.event,
        text: update.text ?? "",
        callId: update.call_id ?? "",
        tool: update.tool ?? "",
        arguments: update.arguments,
        result: undefined,
        progress: undefined,
      };
      const last = this.tools.last();
      if (event.kind === "thought" && last?.kind === "thought" && last.component === event.component && last.wave === event.wave) {
        last.text = (last.text + event.text).slice(-20_000);
        return;
      }
      for (const gone of this.tools.push(event)) this.calls.delete(`${gone.component}\n${gone.callId}`);
      if (event.kind === "call") this.calls.set(callKey, event);
      return;
    }
    const call = this.calls.get(callKey);
    if (!call) return;
    call.revision++;
    if (update.event === "result") {
      const content = typeof update.content === "string" ? update.content.slice(0, MOST_RESULT) : update.content;
      call.result = { content, isError: update.is_error ?? false, seconds: update.seconds ?? 0 };
    } else {
      call.progress = { message: update.message ?? "", fraction: update.fraction };
    }
  }

  private foldTrace(update: TraceUpdate): void {
    const edge = this.edges.get(update.edge);
    if (!edge) return;
    const size = update.value === undefined ? 0 : (update.size ?? 0);
    const fits = this.tracedBytes + size <= MOST_TRACED;
    if (fits) this.tracedBytes += size;
    for (const gone of edge.traces.push(fits ? update : { ...update, value: undefined })) {
      if (gone.value !== undefined) this.tracedBytes -= gone.size ?? 0;
    }
    edge.revision++;
  }
}

export const approvalKey = (approval: Approval): string => `${approval.component}\n${approval.call_id}`;

/** The id of an edge; control connections without one are named by their ends. */
export function edgeKey(shape: EdgeShape): string {
  return shape.edge ?? `${shape.producer}\n${shape.consumer}\n${shape.class_type ?? ""}`;
}
