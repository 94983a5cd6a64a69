/** A run that continues without its caller: watched, fed and cancelled by any client that has its id. */

import { fromCall, isBroken } from "../errors.js";
import { Backoff, sleep } from "../signal.js";
import type { Calls } from "./calls.js";
import { RunReader } from "./reader.js";
import { type Input, runInput } from "./specs.js";
import { type Entry, fromGap, lastOf, type Missed, merged } from "./updates.js";

/** How often a broken connection is made again; a received frame resets the count. */
const ATTEMPTS = 8;
const PAUSES_MS = [100, 5_000] as const;

/** Options of reading a run that has no owner. */
export interface WatchOptions {
  /** Number of the last update that the reader has; reading begins with the next one. */
  after?: bigint;
  /** Ends the reading; the run continues. */
  signal?: AbortSignal;
}

/**
 * A run that continues without its caller. Each reading begins with the first requested update.
 *
 * A connection that breaks is made again, and the updates go on with none lost or doubled.
 */
export class DetachedRun extends RunReader {
  readonly #calls: Calls;
  readonly #options: WatchOptions;

  constructor(
    /** The run's id. */
    readonly id: string,
    calls: Calls,
    options: WatchOptions = {},
  ) {
    super();
    this.#calls = calls;
    this.#options = options;
  }

  /** Feeds the source one value; returns when the run has taken it. */
  async push(input: Input, port = ""): Promise<void> {
    await this.#calls.push(this.id, [runInput(input, port)], false);
  }

  /** Ends the input. */
  async end(): Promise<void> {
    await this.#calls.push(this.id, [], true);
  }

  /** Cancels the run; no effect if it has ended. */
  async cancel(reason = "cancelled by a client"): Promise<void> {
    await this.#calls.cancel(this.id, reason);
  }

  /** Approves a call for which a component waits. */
  async approve(callId: string, component = ""): Promise<void> {
    await this.#calls.decide(this.id, callId, true, "", component);
  }

  /** Refuses a call for which a component waits. */
  async refuse(callId: string, reason = "", component = ""): Promise<void> {
    await this.#calls.decide(this.id, callId, false, reason, component);
  }

  /** The run does not wait for its watchers. */
  protected override taken(): void {}

  protected override async *batches(): AsyncGenerator<Entry[] | Missed, void> {
    const { after, signal } = this.#options;
    this.missed = 0n;
    let wanted = (after ?? 0n) + 1n;
    let failed = 0;
    const backoff = new Backoff(...PAUSES_MS);
    while (true) {
      const ended = new AbortController();
      const signals = signal === undefined ? ended.signal : AbortSignal.any([ended.signal, signal]);
      const request = { runId: this.id, fromSequence: wanted, textOutputs: true };
      try {
        for await (const response of this.#calls.runs.watchRun(request, { signal: signals })) {
          failed = 0;
          backoff.reset();
          if (response.gap !== undefined) {
            wanted = response.gap.toSequence + 1n;
            yield fromGap(response.gap);
          }
          const batch = merged(response.updates, response.textOutputs);
          const last = batch.at(-1);
          if (last === undefined) continue;
          wanted = lastOf(last) + 1n;
          yield batch;
        }
        return;
      } catch (error) {
        failed += 1;
        if (signal?.aborted || failed > ATTEMPTS || !isBroken(error)) throw fromCall(error, this.#calls.peer, signal);
      } finally {
        ended.abort();
      }
      if (failed > 1) await sleep(backoff.next(), signal);
    }
  }
}
