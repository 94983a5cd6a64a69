/** One run on this server: its instances and their lanes, from `place` to `finished`. */

import { durationMs } from "@bufbuild/protobuf/wkt";
import { Code, cancelled, fromThrown, LanemeshError } from "../errors.js";
import type { LaneOpen } from "../gen/lanemesh/v1/lane_pb.js";
import type { Grow, Instance, Place } from "../gen/lanemesh/v1/node_pb.js";
import { NodeState } from "../gen/lanemesh/v1/update_pb.js";
import { type Edge, Inbox } from "../lanes/inbox.js";
import { GrpcSender, type LaneSender, MemorySender } from "../lanes/sender.js";
import { Actor, type Outcome } from "../node/actor.js";
import { Context } from "../node/context.js";
import type { NodeType } from "../node/define.js";
import { type OutputLanes, Outputs } from "../node/streams.js";
import { Waits } from "../node/waits.js";
import { Signal, sleep } from "../signal.js";
import type { ConnectionPool } from "../wire/connection.js";
import { IncomingLanes } from "./incoming-lanes.js";
import { checkSettings, configOf, rulesOf } from "./instance-settings.js";
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
  readonly #lanes: IncomingLanes;
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
    this.#lanes = new IncomingLanes(place, this.#server);
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
        const hosted = this.#instances.get(edge.consumer);
        if (hosted !== undefined) this.#reporter.edges.push(this.#lanes.add(edge, hosted.type, hosted.inbox));
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
    const unopened = this.#lanes.unopened((component) => this.#instances.has(component));
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
    this.#lanes.grow(grow);
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
    const edges = [...this.#lanes.edges.values()].map((edge) => ({
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

  /** The consumer end of an edge that a lane is opened for. Throws LanemeshError if the lane may not be opened. */
  accept(open: LaneOpen): Edge {
    return this.#lanes.accept(open);
  }

  #make(instance: Instance): Hosted {
    const type = this.#host.nodeType(instance.provider);
    checkSettings(type, instance);
    const stalled = () => this.#send({ frame: { case: "stalled", value: { component: instance.component } } });
    const inbox = new Inbox(type.inputs.keys());
    for (const port of type.inputs.values()) {
      if (port.whole) inbox.port(port.name).assemble(port.lane);
    }
    return { instance, type, config: configOf(type, instance), inbox, waits: new Waits(stalled), ended: false };
  }

  #outputs(hosted: Hosted): Outputs {
    const ports = new Map<string, OutputLanes>();
    for (const port of hosted.type.outputs.values()) ports.set(port.name, { lane: port.lane, senders: [] });
    for (const edge of this.#place.edges) {
      if (edge.producer !== hosted.instance.component) continue;
      const local = edge.consumerAddress === "" ? this.#lanes.edges.get(edge.id) : undefined;
      const sender = local !== undefined ? new MemorySender(local) : new GrpcSender(edge, this.#place, this.#host.pool);
      ports.get(edge.output)?.senders.push(sender);
      this.#senders.set(edge.id, sender);
    }
    return new Outputs(hosted.instance.component, ports, hosted.waits);
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
