/** One component of a run: fires its body, or runs it, until its inputs have ended; and its end. */

import { Code, cancelled, fromThrown, LanemeshError } from "../errors.js";
import type { Inbox } from "../lanes/inbox.js";
import type { LaneSender } from "../lanes/sender.js";
import { Signal, sleep, within } from "../signal.js";
import type { Group } from "../values.js";
import { entriesOf } from "./body-results.js";
import { ConcurrentFirings } from "./concurrent.js";
import type { Context } from "./context.js";
import type { Body, NodeType } from "./define.js";
import { FiringInputs, type FiringsEnd, type TakenItems } from "./firing-inputs.js";
import { FiringGroups, KeptGroups } from "./groups.js";
import type { FiringRules } from "./rules.js";
import { Inputs, type Outputs } from "./streams.js";
import type { Waits } from "./waits.js";

/** The most time for `finalize`, in milliseconds. */
const FINALIZE_MS = 5_000;
/** How an actor has ended. */
export interface Outcome {
  state: "completed" | "skipped" | "failed" | "cancelled";
  fault?: LanemeshError;
  detail: string;
}

type AnyBody = Body<Record<string, never>, Record<string, never>, unknown>;

/** A firing under way. */
interface Firing extends TakenItems {
  /** It has sent something, so that it is not repeated. */
  emitted: boolean;
  /** Waits until all earlier firings have ended; absent if there are none. */
  turn?: () => Promise<void>;
}

/** Runs one component to its end. */
export class Actor {
  firings = 0;
  skipped = 0;
  retried = 0;
  /** What the actor waits for is abandoned: it ends now, whatever its body does. */
  readonly #ending = new Signal();
  readonly #abort: AbortController;
  readonly #kept: KeptGroups;
  #cancelled: LanemeshError | undefined;
  #downstreamClosed = false;

  constructor(
    private readonly type: NodeType,
    private readonly body: AnyBody,
    private readonly context: Context,
    abort: AbortController,
    private readonly inbox: Inbox,
    private readonly outputs: Outputs,
    private readonly waits: Waits,
    private readonly rules: FiringRules,
  ) {
    this.#abort = abort;
    this.#kept = new KeptGroups(outputs);
    for (const sender of outputs.senders) this.#watch(sender);
  }

  /** Ends the actor, because its run is cancelled. */
  cancel(reason: string): void {
    if (this.#cancelled !== undefined) return;
    this.#cancelled = this.#locate(cancelled(`${this.context.component} was cancelled: ${reason}`));
    this.#interrupt(this.#cancelled);
    this.outputs.interrupt(this.#cancelled);
  }

  /** Runs to the end, `finalize` included. Its lanes are ended and its inputs stopped; the lanes may not be closed yet. */
  async run(): Promise<Outcome> {
    let fault: LanemeshError | undefined;
    let end: FiringsEnd = { skipped: false, detail: "" };
    try {
      end = this.type.kind === "run" ? await this.#run() : await this.#fire();
    } catch (error) {
      if (!this.#downstreamClosed || !isCancellation(error)) fault = this.#locate(fromThrown(error));
    }
    if (this.#cancelled !== undefined) fault = this.#cancelled;
    await this.#kept.close(outcomeOf(fault));
    const unfinalized = await this.#finalize();
    fault ??= unfinalized;
    if (fault === undefined && this.#downstreamClosed && this.outputs.fault !== undefined) {
      fault = this.#locate(this.outputs.fault);
    }
    this.#abort.abort();
    const secondary = fault?.with({ secondary: true });
    this.outputs.end(secondary);
    this.inbox.stop(`${this.context.component} ${fault === undefined ? "has ended" : "failed"}`, secondary);
    const detail = [end.detail, this.#dropped()].filter(Boolean).join("; ");
    if (fault !== undefined) {
      const isCancelled = fault.code === Code.Canceled && fault.secondary;
      return { state: isCancelled ? "cancelled" : "failed", fault, detail };
    }
    return { state: end.skipped ? "skipped" : "completed", detail };
  }

  async #run(): Promise<FiringsEnd> {
    this.firings = 1;
    const inputs = new Inputs<Record<string, never>>(this.inbox, this.waits);
    const run = async () => this.body.run?.(inputs, this.outputs as Outputs<Record<string, never>>, this.context);
    await this.#bounded(run());
    return { skipped: false, detail: "" };
  }

  /** Fires until no further firing is possible, and waits for the end of all firings. */
  async #fire(): Promise<FiringsEnd> {
    const { concurrency } = this.rules;
    if (concurrency <= 1) return this.#fireWith(undefined);
    const firings = new ConcurrentFirings(concurrency, this.waits, () => {
      this.#abort.abort(); // the later firings are not needed
      this.#ending.fire();
      this.inbox.changed.fire();
    });
    try {
      const end = await this.#fireWith(firings);
      await firings.ended();
      return end;
    } catch (error) {
      await firings.ended();
      throw error;
    }
  }

  async #fireWith(firings: ConcurrentFirings | undefined): Promise<FiringsEnd> {
    const inputs = new FiringInputs(this.type, this.inbox, this.waits, this.rules);
    const check = () => {
      if (this.#cancelled !== undefined) throw this.#cancelled;
    };
    await inputs.collectLists(check);
    const once = inputs.withoutConnection();
    if (once !== undefined) {
      if ("fire" in once) await this.#perform({ ...once.fire, emitted: false });
      return "done" in once ? once.done : { skipped: false, detail: "" };
    }
    while (true) {
      check();
      if (this.#downstreamClosed) return { skipped: false, detail: "" };
      if (firings !== undefined) await firings.capacity();
      const step = inputs.next();
      if ("fire" in step) {
        const firing = { ...step.fire, emitted: false };
        if (firings === undefined) await this.#perform(firing);
        else firings.begin((turn) => this.#perform({ ...firing, turn }));
      } else if ("wait" in step) {
        await this.waits.during(step.wait, this.inbox.changed.wait());
      } else if ("done" in step) {
        return step.done;
      } else if (firings === undefined) {
        await this.#passOnEnd(step.groupEnd);
      } else {
        firings.begin((turn) => turn().then(() => this.#passOnEnd(step.groupEnd)));
      }
    }
  }

  async #passOnEnd(group: Group | undefined): Promise<void> {
    if (group !== undefined && this.type.kind === "process") await this.#kept.passOn(group, []);
  }

  async #perform(firing: Firing): Promise<void> {
    this.firings += 1;
    const number = this.firings;
    const { onError } = this.rules;
    for (let attempt = 1; ; attempt++) {
      try {
        await (this.type.kind === "process" ? this.#process(firing) : this.#generate(firing, number));
        return;
      } catch (error) {
        if (this.#cancelled !== undefined || isConsequence(error)) throw error;
        if (onError.policy === "skip") {
          this.skipped += 1;
          this.context.log.warning(`a firing failed and was dropped: ${fromThrown(error).message}`);
          return;
        }
        if (onError.policy !== "retry" || firing.emitted || attempt >= onError.attempts) throw error;
        this.retried += 1;
        await sleep(onError.backoffMs * 2 ** (attempt - 1), this.#abort.signal);
      }
    }
  }

  async #process(firing: Firing): Promise<void> {
    const made = this.body.process?.(firing.values as never, this.context);
    const result = made instanceof Promise ? await this.#bounded(made) : made;
    if (firing.turn !== undefined) await firing.turn();
    const sent: string[] = [];
    const envelope = firing.group === undefined ? undefined : { group: firing.group };
    for (const [port, value] of entriesOf(this.type, result)) {
      firing.emitted = true;
      await this.outputs.send(port, value, envelope);
      sent.push(port);
    }
    if (firing.group !== undefined) await this.#kept.passOn(firing.group, sent);
  }

  async #generate(firing: Firing, number: number): Promise<void> {
    const groups = new FiringGroups(this.context.component, number, this.outputs);
    const made = this.body.generate?.(firing.values as never, this.context);
    if (made === undefined) return;
    const steps = Symbol.asyncIterator in made ? made[Symbol.asyncIterator]() : made[Symbol.iterator]();
    let deadline = this.rules.timeoutMs === undefined ? undefined : performance.now() + this.rules.timeoutMs;
    try {
      while (!this.#downstreamClosed) {
        const next = steps.next();
        const step = next instanceof Promise ? await this.#bounded(next, deadline) : next;
        if (step.done) break;
        if (firing.turn !== undefined) {
          const since = performance.now();
          await firing.turn();
          if (deadline !== undefined) deadline += performance.now() - since;
        }
        for (const [port, value] of entriesOf(this.type, step.value)) {
          const envelope = this.type.outputs.get(port)?.pieces ? groups.piece(port, value) : undefined;
          firing.emitted = true;
          await this.outputs.send(port, value, envelope);
        }
      }
      await groups.close("ok");
    } catch (error) {
      await groups.close(outcomeOf(this.#cancelled ?? fromThrown(error)));
      throw error;
    } finally {
      await within(Promise.resolve(steps.return?.()), FINALIZE_MS);
    }
  }

  /** The result of a part of the body; the error of its time limit, or of the end of the actor, if that comes first. */
  async #bounded<T>(work: Promise<T>, deadline?: number): Promise<T> {
    const { timeoutMs } = this.rules;
    const leftMs = deadline !== undefined ? deadline - performance.now() : timeoutMs;
    let timer: NodeJS.Timeout | undefined;
    let wake = () => {};
    const ended = new Promise<never>((_, reject) => {
      wake = () => reject(this.#cancelled ?? cancelled("no consumer takes the outputs any more"));
      this.#ending.once(wake);
      if (leftMs !== undefined) {
        timer = setTimeout(() => reject(this.#timeout(timeoutMs ?? 0)), Math.max(0, leftMs));
      }
    });
    work.catch(() => {}); // a body that is late ends by itself
    if (this.#cancelled !== undefined) wake();
    try {
      return await Promise.race([work, ended]);
    } finally {
      clearTimeout(timer);
      this.#ending.forget(wake);
    }
  }

  #timeout(milliseconds: number): LanemeshError {
    this.#abort.abort();
    const what = this.type.kind === "run" ? "run" : "a firing";
    const message = `${this.context.component}: ${what} took longer than its timeout of ${milliseconds / 1000} s`;
    return new LanemeshError({ code: Code.DeadlineExceeded, reason: "timeout", message });
  }

  /** A lane may have been stopped: a node that no consumer needs ends, unless it runs to its end. */
  #checkOutputs(): void {
    if (this.outputs.closed && !this.type.runsToEnd && !this.#downstreamClosed) {
      this.#downstreamClosed = true;
      const why = this.outputs.fault ?? cancelled("no consumer takes the outputs any more");
      this.inbox.stop("its own consumers accept no more items", this.outputs.fault);
      this.#interrupt(why);
    }
  }

  #watch(sender: LaneSender): void {
    sender.freed.once(() => {
      if (sender.stopped) this.#checkOutputs();
      else this.#watch(sender);
    });
  }

  #interrupt(why: LanemeshError): void {
    this.#abort.abort(why);
    this.inbox.interrupt(why);
    this.#ending.fire();
  }

  async #finalize(): Promise<LanemeshError | undefined> {
    if (this.body.finalize === undefined) return undefined;
    let failure: LanemeshError | undefined;
    const finalizing = (async () => this.body.finalize?.(this.context))().catch((error) => {
      failure = this.#locate(fromThrown(error));
    });
    if (await within(finalizing, FINALIZE_MS)) return failure;
    const message = `${this.context.component}: finalize took longer than ${FINALIZE_MS / 1000} s`;
    return this.#locate(new LanemeshError({ code: Code.DeadlineExceeded, reason: "timeout", message }));
  }

  #locate(error: LanemeshError): LanemeshError {
    return error.with({ details: { component: this.context.component, provider: this.type.provider } });
  }

  #dropped(): string {
    const counts = [...this.inbox.ports.values()].filter((port) => port.droppedWholes > 0);
    const shown = counts.map((port) => `${port.droppedWholes} on ${port.name}`).join(", ");
    return shown && `wholes dropped, because their producers failed or were cancelled: ${shown}`;
  }
}

function isCancellation(error: unknown): boolean {
  if (error instanceof LanemeshError) return error.secondary;
  return error instanceof Error && error.name === "AbortError";
}

/** The error of a lane or a cancellation, which `on_error` does not concern. */
function isConsequence(error: unknown): boolean {
  return error instanceof LanemeshError && error.secondary;
}

function outcomeOf(fault: LanemeshError | undefined): Group["outcome"] {
  if (fault === undefined) return "ok";
  return fault.code === Code.Canceled ? "cancelled" : "error";
}
