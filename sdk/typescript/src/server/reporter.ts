/** Reports of one hosted run to its orchestrator, coalesced: an edge at most ten times a second. */

import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { durationFromMs, timestampNow } from "@bufbuild/protobuf/wkt";
import { type LanemeshError, toFault } from "../errors.js";
import type { HostResponseSchema } from "../gen/lanemesh/v1/node_pb.js";
import { type LogLevel, type NodeState, UpdateSchema } from "../gen/lanemesh/v1/update_pb.js";
import type { Edge } from "../lanes/inbox.js";
import type { Secrets } from "./secrets.js";

/** The least time between two reports of one edge, and of the progress of one component, in milliseconds. */
const REPORT_MS = 100;
/** The longest message of a log line or of progress, in characters. */
const MAX_MESSAGE = 4_000;

export type Frame = MessageInitShape<typeof HostResponseSchema>;
type Kind = MessageInitShape<typeof UpdateSchema>["kind"];

/** The counts of a node for its updates. */
export interface NodeCounts {
  firings: number;
  skipped: number;
  retried: number;
  waitingMs: number;
  busyMs: number;
  blockedMs: number;
}

/** Sends updates of one hosted run. */
export class RunReporter {
  /** The edges that are reported: those that end here. */
  readonly edges: Edge[] = [];
  readonly #secrets: Secrets;
  readonly #send: (frame: Frame) => void;
  readonly #canSend: () => boolean;
  readonly #reported = new Map<Edge, string>();
  readonly #progress = new Map<string, { done: number; total: number; message: string }>();
  #omittedLines = 0;
  #timer: NodeJS.Timeout | undefined;

  /** `canSend` returns whether the orchestrator is not behind: only then are states of edges, progress and log lines sent. */
  constructor(send: (frame: Frame) => void, canSend: () => boolean, secrets: Secrets) {
    this.#secrets = secrets;
    this.#send = send;
    this.#canSend = canSend;
  }

  /** An error without the secrets of the run. */
  hidden(fault: LanemeshError): LanemeshError {
    return this.#secrets.hideIn(fault);
  }

  /** Begins to report edges and progress at intervals. */
  start(): void {
    this.#timer = setInterval(() => {
      if (!this.#canSend()) return;
      this.reportEdges();
      this.#reportProgress();
    }, REPORT_MS);
  }

  /** Ends it, and reports the last states. */
  end(): void {
    clearInterval(this.#timer);
    this.#reportProgress();
    this.reportEdges();
  }

  /** The state of a node; `fault` if it failed. */
  node(component: string, state: NodeState, counts?: NodeCounts, detail = "", fault?: LanemeshError): void {
    const value = {
      component,
      state,
      detail: this.#secrets.hide(detail),
      ...(fault && { error: toFault(this.hidden(fault)) }),
      ...(counts && {
        firings: BigInt(counts.firings),
        skippedFirings: BigInt(counts.skipped),
        retriedFirings: BigInt(counts.retried),
        waiting: durationFromMs(Math.round(counts.waitingMs)),
        busy: durationFromMs(Math.round(counts.busyMs)),
        blocked: durationFromMs(Math.round(counts.blockedMs)),
      }),
    };
    this.#update({ case: "node", value });
  }

  /** A line of a component's log. It is dropped and counted while the orchestrator is behind. */
  log(component: string, level: LogLevel, message: string): void {
    if (!this.#canSend()) {
      this.#omittedLines += 1;
      return;
    }
    const omitted = this.#omittedLines > 0 ? ` (${this.#omittedLines} earlier lines were dropped)` : "";
    this.#omittedLines = 0;
    this.#update({ case: "log", value: { component, level, message: this.#shown(message) + omitted } });
  }

  /** The progress of a component; the latest is reported. */
  progress(component: string, done: number, total: number, message: string): void {
    this.#progress.set(component, { done, total, message: this.#shown(message) });
  }

  /** Reports every edge that has changed since its last report. */
  reportEdges(): void {
    for (const edge of this.edges) {
      const drained = (edge.ended || edge.stopped) && edge.bufferedItems <= 0;
      const now = `${edge.arrived} ${edge.taken} ${drained} ${edge.limitItems}`;
      if (this.#reported.get(edge) === now) continue;
      this.#reported.set(edge, now);
      const value = {
        edgeId: edge.id,
        sent: BigInt(edge.arrived),
        consumed: BigInt(edge.taken),
        buffered: BigInt(Math.max(0, edge.bufferedItems)),
        drained,
        limitItems: BigInt(edge.limitItems),
      };
      this.#update({ case: "edge", value });
    }
  }

  #shown(message: string): string {
    return this.#secrets.hide(message).slice(0, MAX_MESSAGE);
  }

  #reportProgress(): void {
    for (const [component, progress] of this.#progress) {
      this.#update({ case: "progress", value: { component, ...progress } });
    }
    this.#progress.clear();
  }

  #update(kind: Kind): void {
    const update = create(UpdateSchema, { time: timestampNow(), kind });
    this.#send({ frame: { case: "update", value: update } });
  }
}
