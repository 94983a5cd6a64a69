/** One `Host` stream: requests of an orchestrator in, responses out. */

import { create } from "@bufbuild/protobuf";
import { Code, fromThrown, LanemeshError, toFault } from "../errors.js";
import { type HostRequest, type HostResponse, HostResponseSchema, type Place } from "../gen/lanemesh/v1/node_pb.js";
import { HEARTBEAT_MS } from "../lanes/sender.js";
import { Signal, within } from "../signal.js";
import { HostedRun, type RunHost } from "./hosted-run.js";
import type { Frame } from "./reporter.js";

/** Updates that may wait for an orchestrator that is behind; states of nodes and the phases are sent nevertheless. */
const MAX_WAITING = 256;
/** An orchestrator may take so long to half-close after `finished`, in milliseconds. */
const HALF_CLOSE_MS = 10_000;

/** What a session needs of its server. */
export interface SessionHost extends RunHost {
  readonly features: readonly string[];
  readonly draining: boolean;
  readonly maxInstances: number;
  readonly activeInstances: number;
  readonly runs: Map<string, HostedRun>;
}

/** A part of a run that is cancelled may take so long to end before it is placed again, in milliseconds. */
const LEAVE_MS = 15_000;

/** The key of a hosted part of a run. */
export function runKey(runId: string, incarnation: number): string {
  return `${runId}\u0000${incarnation}`;
}

/** Hosts one run for as long as its stream lives. */
export class HostSession {
  readonly #host: SessionHost;
  readonly #queue: Frame[] = [];
  readonly #changed = new Signal();
  #run: HostedRun | undefined;
  #over = false;
  #ending: Promise<void> | undefined;
  #executing: Promise<void> | undefined;

  constructor(host: SessionHost) {
    this.#host = host;
  }

  /** The responses, until the run has finished or the orchestrator has left. */
  async *serve(requests: AsyncIterable<HostRequest>, signal: AbortSignal): AsyncGenerator<HostResponse, void> {
    const reading = this.#read(requests);
    const onAbort = () => this.#changed.fire();
    signal.addEventListener("abort", onAbort);
    try {
      while (!signal.aborted) {
        const frame = this.#queue.shift();
        if (frame !== undefined) yield create(HostResponseSchema, frame);
        else if (this.#over) break;
        else if (!(await this.#changed.waitAtMost(HEARTBEAT_MS))) yield create(HostResponseSchema);
      }
      await within(reading, HALF_CLOSE_MS); // an earlier end would break a write of the orchestrator
    } finally {
      signal.removeEventListener("abort", onAbort);
      await this.#close("the orchestrator disconnected");
    }
  }

  async #read(requests: AsyncIterable<HostRequest>): Promise<void> {
    try {
      for await (const request of requests) this.#handle(request);
    } catch {
      // The stream broke: this ends the run here, as a half-close does.
    }
    await this.#close("the orchestrator disconnected");
  }

  #handle({ frame }: HostRequest): void {
    switch (frame.case) {
      case "place":
        void this.#place(frame.value);
        return;
      case "connect":
        void this.#connect();
        return;
      case "start":
        this.#begin(this.#run);
        return;
      case "cancel":
        void this.#run?.cancel(frame.value.reason);
        return;
      case "grow":
        return this.#run?.grow(frame.value);
      case "probe":
        return this.#run?.probe(frame.value.id);
    }
  }

  async #place(place: Place): Promise<void> {
    const earlier = this.#host.runs.get(runKey(place.runId, place.incarnation));
    if (earlier?.cancelling) await within(earlier.gone, LEAVE_MS); // an attempt to place it that was abandoned
    const faults = this.#placed(place);
    this.#send({ frame: { case: "placed", value: { faults: faults.map(toFault) } } });
  }

  #placed(place: Place): LanemeshError[] {
    const host = this.#host;
    const key = runKey(place.runId, place.incarnation);
    const missing = place.features.filter((feature) => !host.features.includes(feature));
    if (place.keepWarm) missing.push("preload");
    if (this.#run !== undefined || host.runs.has(key)) {
      return [this.#fault(Code.AlreadyExists, "run-exists", `the run "${place.runId}" is already hosted`)];
    }
    if (host.draining) return [this.#fault(Code.Unavailable, "draining", "it is draining and accepts no new runs")];
    if (missing.length > 0) {
      const names = missing.map((name) => `"${name}"`).join(" and ");
      const why = `it does not support the features ${names}, which the run needs there`;
      return [this.#fault(Code.FailedPrecondition, "missing-feature", why)];
    }
    if (host.maxInstances > 0 && host.activeInstances + place.instances.length > host.maxInstances) {
      const why = `it runs ${host.activeInstances} of at most ${host.maxInstances} components`;
      const full = `${why}, and ${place.instances.length} more were requested`;
      return [this.#fault(Code.ResourceExhausted, "server-full", full)];
    }
    const run = new HostedRun(
      host,
      place,
      (frame) => this.#send(frame),
      () => this.#queue.length < MAX_WAITING,
    );
    this.#run = run;
    host.runs.set(key, run);
    return run.place();
  }

  async #connect(): Promise<void> {
    const run = this.#run;
    const early = "`connect` came before `placed`, or twice";
    const faults = run?.phase === "placed" ? await this.#phase(() => run.connect()) : [this.#misplaced(early)];
    this.#send({ frame: { case: "connected", value: { faults: faults.map(toFault) } } });
  }

  /** Starts the nodes of a run that may start. Otherwise the run ends with a fault. */
  #begin(run: HostedRun | undefined): void {
    if (run?.phase === "connected") this.#executing = this.#finish(this.#phase(() => run.execute()));
    else if (run?.phase === "started") void run.fail(this.#misplaced("`start` came twice"));
    else void this.#refuseStart(run);
  }

  async #refuseStart(run: HostedRun | undefined): Promise<void> {
    const fault = this.#misplaced("`start` came before `connected`");
    await run?.cancel(fault.message);
    await this.#finish(Promise.resolve([fault]));
  }

  async #finish(ended: Promise<LanemeshError[]>): Promise<void> {
    const faults = await ended;
    this.#send({ frame: { case: "finished", value: { faults: faults.map(toFault) } } });
    this.#forget();
    this.#over = true;
    this.#changed.fire();
  }

  async #phase(work: () => Promise<LanemeshError[]>): Promise<LanemeshError[]> {
    try {
      return await work();
    } catch (error) {
      return [fromThrown(error, { server: this.#host.name })];
    }
  }

  #close(reason: string): Promise<void> {
    this.#ending ??= this.#end(reason);
    return this.#ending;
  }

  async #end(reason: string): Promise<void> {
    await this.#run?.cancel(reason);
    await this.#executing;
    this.#forget();
    this.#over = true;
    this.#changed.fire();
  }

  #forget(): void {
    if (this.#run === undefined) return;
    this.#host.runs.delete(runKey(this.#run.runId, this.#run.incarnation));
    this.#run.leave();
    this.#run = undefined;
  }

  #send(frame: Frame): void {
    if (this.#over) return;
    this.#queue.push(frame);
    this.#changed.fire();
  }

  #misplaced(why: string): LanemeshError {
    return this.#fault(Code.FailedPrecondition, "not-placed", why);
  }

  #fault(code: Code, reason: string, why: string): LanemeshError {
    return new LanemeshError({ code, reason, message: `the node server "${this.#host.name}": ${why}` });
  }
}
