/** One run on this server: its instances and their lanes, from `place` to `finished`. */

import { durationMs } from "@bufbuild/protobuf/wkt";
import { ZodError } from "zod";
import { fromWireLane } from "../codec.js";
import { Code, cancelled, fromThrown, LanemeshError, refused } from "../errors.js";
import type { LaneOpen } from "../gen/lanemesh/v1/lane_pb.js";
import {
  type Grow,
  type Instance,
  Isolation,
  OnError_Policy,
  type Place,
  SyncMode,
  type Edge as WireEdge,
} from "../gen/lanemesh/v1/node_pb.js";
import { NodeState } from "../gen/lanemesh/v1/update_pb.js";
import { readJson } from "../json.js";
import { type Edge, Inbox } from "../lanes/inbox.js";
import { GrpcSender, type LaneSender, MemorySender } from "../lanes/sender.js";
import { Actor, type FiringRules, type Outcome } from "../node/actor.js";
import { Context } from "../node/context.js";
import type { NodeType } from "../node/define.js";
import { type OutputLanes, Outputs } from "../node/streams.js";
import { Waits } from "../node/waits.js";
import { Signal, sleep } from "../signal.js";
import type { ConnectionPool } from "../wire/connection.js";
import { hasKey } from "../wire/keys.js";
import { type Frame, RunReporter } from "./reporter.js";
import { secretsOf } from "./secrets.js";

/** Cancelled nodes may take so long, `finalize` included, before they are abandoned, in milliseconds. */
const CANCEL_MS = 8_000;
/** A run may take so much longer than its timeout before this server ends its part, in milliseconds. */
const TIMEOUT_GRACE_MS = 2_000;

const STATES = {
  completed: NodeState.COMPLETED,
  skipped: NodeState.SKIPPED,
  failed: NodeState.FAILED,
  cancelled: NodeState.CANCELLED,
} as const;

/** What a run needs of its server. */
export interface RunHost {
  readonly name: string;
  readonly pool: ConnectionPool;
  nodeType(provider: string): NodeType;
}

interface Hosted {
  instance: Instance;
  type: NodeType;
  config: unknown;
  inbox: Inbox;
  waits: Waits;
  outputs?: Outputs;
  actor?: Actor;
  ended: boolean;
}

/** How far a run has come. `connect` may come when it is placed, `start` when it is connected. */
export type Phase = "placing" | "placed" | "connecting" | "connected" | "started";

/** The part of one run that this server hosts. */
export class HostedRun {
  cancelling = false;
  /** How far it has come. */
  phase: Phase = "placing";
  /** Resolves when the server has forgotten the run. */
  readonly gone: Promise<void>;
  /** The server forgets the run. */
  leave: () => void = () => {};
  readonly runId: string;
  readonly incarnation: number;
  readonly #host: RunHost;
  readonly #place: Place;
  readonly #server: string;
  readonly #send: (frame: Frame) => void;
  readonly #reporter: RunReporter;
  readonly #instances = new Map<string, Hosted>();
  readonly #incoming = new Map<string, Edge>();
  readonly #accepted = new Set<string>();
  readonly #senders = new Map<string, LaneSender>();
  readonly #faults: LanemeshError[] = [];
  readonly #cancelled = new Signal();

  constructor(host: RunHost, place: Place, send: (frame: Frame) => void, canSend: () => boolean) {
    this.gone = new Promise((resolve) => {
      this.leave = resolve;
    });
    this.runId = place.runId;
    this.incarnation = place.incarnation;
    this.#host = host;
    this.#place = place;
    this.#server = place.server || host.name;
    this.#send = send;
    this.#reporter = new RunReporter(send, canSend, secretsOf(place.instances));
  }

  /** Number of its components on this server. */
  get instances(): number {
    return this.#place.instances.length;
  }

  /** Creates every instance and its inputs. Returns all faults. */
  place(): LanemeshError[] {
    const faults: LanemeshError[] = [];
    for (const instance of this.#place.instances) {
      try {
        this.#instances.set(instance.component, this.#make(instance));
      } catch (error) {
        const { component, provider } = instance;
        faults.push(fromThrown(error, { component, provider, server: this.#server }));
      }
    }
    if (faults.length > 0) return faults;
    for (const edge of this.#place.edges) {
      try {
        this.#addEdge(edge);
      } catch (error) {
        faults.push(fromThrown(error, { component: edge.consumer, server: this.#server }));
      }
    }
    if (faults.length === 0) this.phase = "placed";
    return faults;
  }

  /** Opens every outgoing lane. Returns all faults. */
  async connect(): Promise<LanemeshError[]> {
    this.phase = "connecting";
    for (const hosted of this.#instances.values()) hosted.outputs = this.#outputs(hosted);
    const opening = [...this.#senders.values()].map((sender) => sender.open());
    const results = await Promise.race([Promise.allSettled(opening), this.#cancelled.wait()]);
    if (results === undefined) return [cancelled("the run was cancelled")];
    const failed = results.filter((result) => result.status === "rejected");
    if (failed.length === 0 && !this.cancelling) this.phase = "connected";
    return failed.map((result) => fromThrown(result.reason, { server: this.#server }));
  }

  /** Runs every instance to its end. Returns their faults, in the order of occurrence. */
  async execute(): Promise<LanemeshError[]> {
    this.phase = "started";
    const unopened = this.#unopened();
    if (unopened.length > 0) {
      await this.cancel("not every lane was opened");
      return unopened;
    }
    const over = new AbortController();
    const timeout = this.#place.timeout === undefined ? undefined : durationMs(this.#place.timeout);
    if (timeout !== undefined) void this.#expire(timeout, over.signal);
    this.#reporter.start();
    await Promise.all([...this.#instances.values()].map((hosted) => this.#supervise(hosted)));
    over.abort();
    this.#reporter.end();
    return this.#faults.map((fault) => this.#reporter.hidden(fault));
  }

  /** Cancels a started run, whose faults then include this one. */
  async fail(fault: LanemeshError): Promise<void> {
    this.#faults.push(fault);
    await this.cancel(fault.message);
  }

  /** Stops all work of this run here; resolves when it has stopped. */
  async cancel(reason: string): Promise<void> {
    this.cancelling = true;
    this.#cancelled.fire();
    const why = cancelled(`the run was cancelled: ${reason}`);
    if (this.phase !== "started") {
      await Promise.all([...this.#senders.values()].map((sender) => sender.abort(why)));
      for (const { inbox } of this.#instances.values()) inbox.stop(why.message, why);
      return;
    }
    for (const { actor, ended } of this.#instances.values()) {
      if (!ended) actor?.cancel(reason);
    }
  }

  /** Raises the limits of an incoming lane. Its producer gets further credit. */
  grow(grow: Grow): void {
    this.#incoming.get(grow.edgeId)?.grow(Number(grow.limitItems), Number(grow.limitBytes));
  }

  /** Reports the state of every actor and edge at this instant. */
  probe(id: bigint): void {
    const active = [...this.#instances.values()].filter((hosted) => !hosted.ended && hosted.actor !== undefined);
    const actors = active.map(({ instance, waits }) => ({
      component: instance.component,
      version: waits.version,
      waits: waits.current(),
    }));
    const senders = [...this.#senders.values()].map((sender) => {
      const { taken, limitItems, heldBytes, limitBytes, ended } = sender.counts();
      const counts = { items: BigInt(sender.sent), takenItems: BigInt(taken), limitItems: BigInt(limitItems) };
      const bytes = { heldBytes: BigInt(Math.ceil(heldBytes)), limitBytes: BigInt(limitBytes) };
      return { edgeId: sender.edgeId, producerEnd: true, ended, ...counts, ...bytes };
    });
    const edges = [...this.#incoming.values()].map((edge) => ({
      edgeId: edge.id,
      items: BigInt(edge.arrived),
      takenItems: BigInt(edge.taken),
      limitItems: BigInt(edge.limitItems),
      heldBytes: BigInt(Math.ceil(edge.bufferedBytes)),
      limitBytes: BigInt(edge.limitBytes),
      ended: edge.ended || edge.stopped,
    }));
    this.#send({ frame: { case: "probed", value: { id, actors, edges: [...senders, ...edges] } } });
  }

  /** The consumer end of an edge that a lane is opened for. Throws LanemeshError if there is none, or it has a lane. */
  accept(open: LaneOpen): Edge {
    if (!hasKey(open, this.#place)) {
      const why =
        "it does not carry the key of the run. Only producers that its orchestrator has placed may open its lanes";
      throw refusal(Code.PermissionDenied, "wrong-lane-key", open, why);
    }
    const edge = this.#incoming.get(open.edgeId);
    if (edge === undefined) throw refusal(Code.NotFound, "unknown-edge", open, "the run has no such edge here");
    if (fromWireLane(open.laneType) !== edge.lane) {
      const why = `the edge is of type ${edge.lane}, the lane is not`;
      throw refusal(Code.InvalidArgument, "lane-mismatch", open, why);
    }
    if (open.reopen) {
      throw refusal(Code.FailedPrecondition, "not-detached", open, "the edge does not wait for a new lane");
    }
    if (open.resumeFrom !== 0n) {
      throw refusal(Code.FailedPrecondition, "no-resume", open, "the lanes of this edge cannot be resumed");
    }
    if (this.#accepted.has(edge.id)) {
      throw refusal(Code.AlreadyExists, "already-open", open, "the edge has a lane already");
    }
    this.#accepted.add(edge.id);
    return edge;
  }

  #make(instance: Instance): Hosted {
    const type = this.#host.nodeType(instance.provider);
    checkSettings(instance);
    const stalled = () => this.#send({ frame: { case: "stalled", value: { component: instance.component } } });
    const inbox = new Inbox(type.inputs.keys());
    for (const port of type.inputs.values()) {
      if (port.whole) inbox.port(port.name).assemble(port.lane);
    }
    if (
      type.kind === "run" &&
      instance.onError !== undefined &&
      instance.onError.policy !== OnError_Policy.UNSPECIFIED
    ) {
      const message = `${instance.component}: on_error needs firings, and ${type.provider} reads its inputs itself`;
      throw refused("bad-value", message);
    }
    return { instance, type, config: configOf(type, instance), inbox, waits: new Waits(stalled), ended: false };
  }

  #addEdge(edge: WireEdge): void {
    const hosted = this.#instances.get(edge.consumer);
    if (hosted === undefined) return;
    const lane = fromWireLane(edge.laneType);
    const port = hosted.type.inputs.get(edge.input);
    if (lane === undefined || port === undefined || port.lane !== lane) {
      throw refused(
        "lane-mismatch",
        `the edge ${edge.id} does not fit the input "${edge.input}" of ${hosted.type.provider}`,
      );
    }
    const limits = [Number(edge.limitItems), Number(edge.limitBytes)] as const;
    const added = hosted.inbox.addEdge(edge.id, edge.input, lane, ...limits);
    if (edge.serializeGroups) hosted.inbox.port(edge.input).serializeGroups();
    this.#incoming.set(edge.id, added);
    this.#reporter.edges.push(added);
  }

  #outputs(hosted: Hosted): Outputs {
    const ports = new Map<string, OutputLanes>();
    for (const port of hosted.type.outputs.values()) ports.set(port.name, { lane: port.lane, senders: [] });
    for (const edge of this.#place.edges) {
      if (edge.producer !== hosted.instance.component) continue;
      const local = edge.consumerAddress === "" ? this.#incoming.get(edge.id) : undefined;
      const sender = local !== undefined ? new MemorySender(local) : new GrpcSender(edge, this.#place, this.#host.pool);
      ports.get(edge.output)?.senders.push(sender);
      this.#senders.set(edge.id, sender);
    }
    return new Outputs(hosted.instance.component, ports, hosted.waits);
  }

  /** Faults of incoming lanes of other servers that were not opened, although every server has connected. */
  #unopened(): LanemeshError[] {
    const missing = this.#place.edges.filter(
      (edge) =>
        this.#incoming.has(edge.id) &&
        edge.producerServer !== "" &&
        !this.#instances.has(edge.producer) &&
        !this.#accepted.has(edge.id),
    );
    return missing.map((edge) => {
      const message = `the node server "${edge.producerServer}" has connected, but has not opened the lane ${edge.id}`;
      const details = { server: this.#server, lane: edge.id, component: edge.consumer };
      return new LanemeshError({ code: Code.FailedPrecondition, reason: "lane-not-opened", message, details });
    });
  }

  async #supervise(hosted: Hosted): Promise<void> {
    const { instance, type, inbox, waits } = hosted;
    const { component } = instance;
    const outputs = hosted.outputs as Outputs;
    const abort = new AbortController();
    const context = new Context(
      hosted.config,
      component,
      this.runId,
      abort.signal,
      this.#reporter,
      this.#place.sessionId,
    );
    let outcome: Outcome;
    try {
      const actor = new Actor(type, type.body(), context, abort, inbox, outputs, waits, rulesOf(type, instance));
      hosted.actor = actor;
      this.#reporter.node(component, NodeState.RUNNING);
      if (this.cancelling) actor.cancel("the run was cancelled");
      outcome = await this.#endOf(actor);
    } catch (error) {
      const fault = fromThrown(error, { component, provider: type.provider, server: this.#server });
      outcome = { state: "failed", fault, detail: "" };
      outputs.end(fault.with({ secondary: true }));
      inbox.stop(`${component} failed`, fault.with({ secondary: true }));
    }
    const fault = outcome.fault?.with({ details: { server: this.#server } });
    if (this.cancelling && fault !== undefined) {
      await Promise.all(outputs.senders.map((sender) => sender.abort(fault.with({ secondary: true }))));
    }
    hosted.ended = true;
    if (outcome.state === "failed" && fault !== undefined) this.#faults.push(fault);
    this.#reporter.node(component, STATES[outcome.state], countsOf(hosted), outcome.detail, fault);
    await Promise.all(outputs.senders.map((sender) => this.#closed(sender)));
    const broken = outputs.senders.find((sender) => sender.fault !== undefined)?.fault;
    if (broken !== undefined && fault === undefined && !type.runsToEnd) {
      this.#faults.push(broken.with({ details: { component, server: this.#server } }));
    }
  }

  /** The outcome of an actor. One that ignores its cancellation is abandoned. */
  async #endOf(actor: Actor): Promise<Outcome> {
    const running = actor.run();
    const late = (async () => {
      while (!this.cancelling) await this.#cancelled.wait();
      await sleep(CANCEL_MS);
    })();
    const outcome = await Promise.race([running, late]);
    if (outcome !== undefined) return outcome;
    const detail = `it ignored its cancellation for ${CANCEL_MS / 1000} s and was abandoned`;
    return { state: "cancelled", fault: cancelled("the run was cancelled"), detail };
  }

  /** Waits until a lane is closed; when the run is cancelled, not much longer. */
  async #closed(sender: LaneSender): Promise<void> {
    const closed = sender.closed();
    const late = (async () => {
      while (!this.cancelling) await this.#cancelled.wait();
      await sender.abort(cancelled("the run was cancelled"));
    })();
    late.catch(() => {});
    await Promise.race([closed, late]);
  }

  /** Ends a run after its time limit if it was not cancelled. */
  async #expire(milliseconds: number, over: AbortSignal): Promise<void> {
    await sleep(milliseconds + TIMEOUT_GRACE_MS, over);
    if (over.aborted) return;
    const message = `the run took longer than its timeout of ${milliseconds / 1000} s`;
    const details = { server: this.#server };
    this.#faults.push(new LanemeshError({ code: Code.DeadlineExceeded, reason: "timeout", message, details }));
    await this.cancel(message);
  }
}

/** The error of a lane that is refused. */
export function refusal(code: Code, reason: string, open: LaneOpen, why: string): LanemeshError {
  const message = `the lane "${open.edgeId}" of run "${open.runId}" is rejected: ${why}`;
  return new LanemeshError({ code, reason, message, details: { lane: open.edgeId } });
}

/** The config of an instance. Throws LanemeshError ("bad-config"), which quotes no values, since they may be secret. */
function configOf(type: NodeType, instance: Instance): unknown {
  try {
    return type.parseConfig(readJson(instance.configJson || "{}"));
  } catch (error) {
    if (!(error instanceof ZodError)) throw error;
    const problems = error.issues
      .slice(0, 10)
      .map((issue) => `${["config", ...issue.path].join(".")}: ${issue.message}`);
    throw refused("bad-config", `${instance.component}: ${problems.join("; ")}`);
  }
}

/** Throws LanemeshError ("missing-feature") if an instance has a setting that this server lacks. */
function checkSettings(instance: Instance): void {
  const lacking = [
    instance.syncMode === SyncMode.JOIN && "sync_mode join",
    instance.isolation === Isolation.PROCESS && "isolation process",
    instance.helper && "helper",
  ].filter(Boolean);
  if (lacking.length === 0) return;
  const message = `${instance.component}: this server does not support ${lacking.join(" and ")}`;
  throw new LanemeshError({ code: Code.Unimplemented, reason: "missing-feature", message });
}

function rulesOf(type: NodeType, instance: Instance): FiringRules {
  const given = instance.onError;
  let onError: FiringRules["onError"] = { policy: "fail" };
  if (given?.policy === OnError_Policy.SKIP) onError = { policy: "skip" };
  if (given?.policy === OnError_Policy.RETRY) {
    const backoffMs = given.backoff === undefined ? 0 : durationMs(given.backoff);
    onError = { policy: "retry", attempts: Math.max(1, given.attempts), backoffMs };
  }
  const modes: Partial<Record<SyncMode, FiringRules["syncMode"]>> = {
    [SyncMode.ON_ANY]: "on_any",
    [SyncMode.ZIP_ALL]: "zip_all",
  };
  return {
    syncMode: modes[instance.syncMode] ?? type.syncMode,
    singleInputs: new Set(instance.singleItemInputs),
    onError,
    timeoutMs: instance.timeout === undefined ? undefined : durationMs(instance.timeout),
    concurrency: Math.max(1, instance.concurrency),
  };
}

function countsOf({ actor, waits }: Hosted) {
  const { waitingMs, blockedMs, busyMs } = waits;
  return {
    firings: actor?.firings ?? 0,
    skipped: actor?.skipped ?? 0,
    retried: actor?.retried ?? 0,
    waitingMs,
    blockedMs,
    busyMs,
  };
}
