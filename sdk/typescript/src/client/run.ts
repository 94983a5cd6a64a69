/** A run that its caller owns, over one `Run` call: updates, their acknowledgement, and inputs. */

import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { Code, fromCall, LanemeshError } from "../errors.js";
import {
  type RunInput,
  type RunRequest,
  RunRequestSchema,
  type RunResponse,
  type RunSpec,
} from "../gen/lanemesh/v1/run_pb.js";
import { Signal } from "../signal.js";
import type { Calls } from "./calls.js";
import { RunReader } from "./reader.js";
import { type Input, runInput, sizeOfInput } from "./specs.js";
import { type Entry, isTerminal, lastOf, type Missed, merged, sizeOf } from "./updates.js";

/** An acknowledgement is due after so many taken updates, or so many bytes. */
const ACKNOWLEDGE_UPDATES = 128n;
const ACKNOWLEDGE_BYTES = 64 * 1024;
/** The most inputs and bytes on the call that the run has not accepted. */
const MAX_INPUTS = 64;
const MAX_INPUT_BYTES = 1024 * 1024;
const ALONE_BYTES = 256 * 1024;
/** The most inputs that a run gets together with its start, and their bytes. */
const FEW_INPUTS = 16;
const FEW_BYTES = 64 * 1024;

/**
 * A run that its caller owns. An owner that does not read holds the run; one that disconnects cancels it.
 *
 * The updates can be read once: by `updates`, `outputs`, `texts`, `result` or `text`. A reading that ends early cancels the run.
 */
export class Run extends RunReader implements AsyncDisposable {
  /** The id of the run, once it has started. Rejects if it could not be started. */
  readonly started: Promise<string>;
  readonly #calls: Calls;
  readonly #call = new AbortController();
  readonly #changed = new Signal();
  readonly #requests: RunRequest[] = [];
  readonly #batches: Entry[][] = [];
  readonly #unaccepted: number[] = [];
  #unacceptedBytes = 0;
  #accepted = 0n;
  #inputToken = "";
  #id = "";
  #takenBytes = 0;
  #acknowledged = 0n;
  #ended = false;
  #failure: LanemeshError | undefined;
  #isRead = false;
  #isStarted: { resolve: (id: string) => void; reject: (error: LanemeshError) => void } | undefined;

  /** Starts a run. `open`: its input stays open for `push`. */
  constructor(
    calls: Calls,
    spec: RunSpec,
    inputs: Iterable<Input> | AsyncIterable<Input>,
    open: boolean,
    signal?: AbortSignal,
  ) {
    super();
    this.#calls = calls;
    this.started = new Promise((resolve, reject) => {
      this.#isStarted = { resolve, reject };
    });
    this.started.catch(() => {}); // a reader gets the same error
    signal?.addEventListener("abort", () => this.#call.abort(), { once: true });
    if (signal?.aborted) this.#call.abort();
    const few = open ? undefined : fewInputs(inputs);
    this.#queue({
      frame: { case: "spec", value: spec },
      textOutputs: true,
      inputs: few ?? [],
      endsInput: few !== undefined,
    });
    void this.#read(few === undefined ? inputs : [], few, open);
  }

  /** The id of the run; empty before it has started. */
  get id(): string {
    return this.#id;
  }

  /** Feeds the source one value; returns when the run has taken it. Only for a run with `open`. */
  async push(input: Input, port = ""): Promise<void> {
    await this.#calls.push(await this.started, [runInput(input, port)], false, this.#inputToken);
  }

  /** Ends the input of a run with `open`. */
  async end(): Promise<void> {
    await this.started;
    this.#queue({ frame: { case: "endInput", value: {} } });
  }

  /** Cancels the run, so that its last updates still arrive. */
  async cancel(reason = "cancelled by its caller"): Promise<void> {
    await this.#calls.cancel(await this.started, reason);
  }

  /** Approves a call for which a component waits. */
  async approve(callId: string, component = ""): Promise<void> {
    await this.#calls.decide(await this.started, callId, true, "", component);
  }

  /** Refuses a call for which a component waits. */
  async refuse(callId: string, reason = "", component = ""): Promise<void> {
    await this.#calls.decide(await this.started, callId, false, reason, component);
  }

  /** Disconnects, which cancels the run if it has not ended. */
  close(): void {
    this.#call.abort();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
  }

  protected override taken(entry: Entry): void {
    this.#takenBytes += sizeOf(entry);
    const last = lastOf(entry);
    const due = last - this.#acknowledged >= ACKNOWLEDGE_UPDATES || this.#takenBytes >= ACKNOWLEDGE_BYTES;
    if (!due || this.#ended) return;
    this.#acknowledged = last;
    this.#takenBytes = 0;
    this.#queue({ frame: { case: "acknowledge", value: { sequence: last } } });
  }

  protected override async *batches(): AsyncGenerator<Entry[] | Missed, void> {
    if (this.#isRead) {
      const message =
        "the updates of a run that its caller owns can be read once; use startRun and watch for several readers";
      throw new LanemeshError({ code: Code.FailedPrecondition, reason: "already-read", message });
    }
    this.#isRead = true;
    try {
      while (true) {
        const batch = this.#batches.shift();
        if (batch !== undefined) yield batch;
        else if (this.#ended) break;
        else await this.#changed.wait();
      }
      if (this.#failure !== undefined) throw this.#failure;
    } finally {
      this.close();
    }
  }

  #queue(init: MessageInitShape<typeof RunRequestSchema>): void {
    this.#requests.push(create(RunRequestSchema, init));
    this.#changed.fire();
  }

  /** The frames of the caller, until the run has ended. */
  async *#frames(): AsyncGenerator<RunRequest, void> {
    while (!this.#ended) {
      const request = this.#requests.shift();
      if (request !== undefined) yield request;
      else await this.#changed.wait();
    }
  }

  async #read(rest: Iterable<Input> | AsyncIterable<Input>, few: RunInput[] | undefined, open: boolean): Promise<void> {
    let isFirst = true;
    try {
      for await (const response of this.#calls.runs.run(this.#frames(), { signal: this.#call.signal })) {
        this.#take(response);
        if (isFirst) {
          isFirst = false;
          const refused = few !== undefined && !response.tookInputs;
          if (refused || few === undefined) this.#feed(refused ? few : rest, open).catch((error) => this.#fail(error));
        }
      }
    } catch (error) {
      this.#failure ??= fromCall(error, this.#calls.peer, this.#call.signal);
    } finally {
      this.#ended = true;
      this.#isStarted?.reject(this.#failure ?? this.#noEnd());
      this.#changed.fire();
    }
  }

  #take(response: RunResponse): void {
    if (response.inputToken) this.#inputToken = response.inputToken;
    while (this.#accepted < response.acceptedInputs && this.#unaccepted.length > 0) {
      this.#accepted += 1n;
      this.#unacceptedBytes -= this.#unaccepted.shift() ?? 0;
    }
    const batch = merged(response.updates, response.textOutputs);
    const [first, last] = [batch[0], batch.at(-1)];
    if (first !== undefined && last !== undefined) {
      if (this.#id === "" && "kind" in first && first.kind.case === "job") {
        this.#id = first.kind.value.runId;
        this.#isStarted?.resolve(this.#id);
      }
      this.#batches.push(batch);
      if (isTerminal(last)) this.#ended = true;
    }
    this.#changed.fire();
  }

  /** Sends inputs on the call, while the run accepts them, and the end of the input. */
  async #feed(inputs: Iterable<Input | RunInput> | AsyncIterable<Input | RunInput>, open: boolean): Promise<void> {
    for await (const input of inputs) {
      const given = typeof input === "object" && "$typeName" in input ? input : runInput(input);
      const size = sizeOfInput(given);
      while (!this.#ended && this.#isFull(size)) await this.#changed.wait();
      if (this.#ended) return;
      this.#unaccepted.push(size);
      this.#unacceptedBytes += size;
      this.#queue({ frame: { case: "input", value: given } });
    }
    if (!open) this.#queue({ frame: { case: "endInput", value: {} } });
  }

  #isFull(size: number): boolean {
    const tooLarge = this.#unacceptedBytes + size > MAX_INPUT_BYTES && this.#unacceptedBytes > ALONE_BYTES;
    return this.#unaccepted.length >= MAX_INPUTS || tooLarge;
  }

  /** An input could not be read or sent: ends the run with its error. */
  #fail(error: unknown): void {
    this.#failure ??= fromCall(error, "the inputs of the run");
    if (error instanceof Error && !(error instanceof LanemeshError)) {
      this.#failure = new LanemeshError(
        { code: Code.Aborted, reason: "input-failed", message: `the inputs of the run ended with ${error}` },
        { cause: error },
      );
    }
    this.#call.abort();
  }

  #noEnd(): LanemeshError {
    const message = "the updates of the run stopped before its end";
    return new LanemeshError({ code: Code.DataLoss, reason: "no-end", message });
  }
}

/** All inputs if they are few, small and valid; otherwise undefined, and the feeder reports what is wrong. */
function fewInputs(inputs: Iterable<Input> | AsyncIterable<Input>): RunInput[] | undefined {
  if (!Array.isArray(inputs) || inputs.length > FEW_INPUTS) return undefined;
  try {
    const given = inputs.map((input) => runInput(input as Input));
    return given.reduce((sum, one) => sum + sizeOfInput(one), 0) <= FEW_BYTES ? given : undefined;
  } catch {
    return undefined;
  }
}
