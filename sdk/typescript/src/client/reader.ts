/** Reading a run: its updates, and views of them. */

import { Code, LanemeshError } from "../errors.js";
import type { Value } from "../values.js";
import { type Entry, failureOf, fromEntry, isTerminal, type Missed, type Output, type Update } from "./updates.js";

/** What a run has delivered, once it has completed. */
export class Result {
  constructor(
    /** The outputs, in the order of their arrival. */
    readonly outputs: readonly Output[],
  ) {}

  /** The texts of all outputs, and of all answers, one after the other. */
  get text(): string {
    return this.outputs.map(textOf).join("");
  }

  /** The values of all outputs, each with its type. */
  get values(): Value[] {
    return this.outputs.map(({ lane, value }) => ({ lane, value }) as Value);
  }

  /** The only value. Throws LanemeshError ("not-one-value") if there is none, or several. */
  get value(): Value {
    const [first, second] = this.values;
    if (first !== undefined && second === undefined) return first;
    throw new LanemeshError({
      code: Code.FailedPrecondition,
      reason: "not-one-value",
      message: `the run returned ${this.outputs.length} values where one was expected; read \`values\` or \`text\``,
    });
  }
}

/**
 * A run that is read: `updates`, `outputs`, `texts`, `result` and `text`.
 *
 * Each reading throws the error of a run that has failed or was cancelled, after everything before it.
 */
export abstract class RunReader {
  /** Number of updates that were no longer kept when they were requested. */
  missed = 0n;

  /** The entries of the run, to the terminal one. */
  protected abstract batches(): AsyncGenerator<Entry[] | Missed, void>;

  /** The program has taken everything up to an entry. */
  protected abstract taken(entry: Entry): void;

  /** Every update, in order. The last one reports the end of the run; after it a failure is thrown. */
  async *updates(): AsyncGenerator<Update | Missed, void> {
    let ended = false;
    for await (const batch of this.batches()) {
      if (!Array.isArray(batch)) {
        this.missed += batch.to - batch.from + 1n;
        yield batch;
        continue;
      }
      for (const entry of batch) {
        ended = isTerminal(entry);
        let failure: LanemeshError | undefined;
        for (const update of fromEntry(entry)) {
          yield update;
          failure = failureOf(update);
        }
        this.taken(entry);
        if (failure !== undefined) throw failure;
      }
    }
    if (!ended) {
      const message = "the updates of the run stopped before its end";
      throw new LanemeshError({ code: Code.DataLoss, reason: "no-end", message });
    }
  }

  /** The values that reach the targets, as they arrive. */
  async *outputs(): AsyncGenerator<Output, void> {
    for await (const update of this.updates()) {
      if (update.kind === "output") yield update.output;
    }
  }

  /** The texts that reach the targets, as they arrive: text values, and the texts of answers. */
  async *texts(): AsyncGenerator<string, void> {
    for await (const output of this.outputs()) {
      const text = textOf(output);
      if (text !== "") yield text;
    }
  }

  /** Reads the run to its end; returns what it has delivered. */
  async result(): Promise<Result> {
    const outputs: Output[] = [];
    for await (const output of this.outputs()) outputs.push(output);
    return new Result(outputs);
  }

  /** Reads the run to its end; returns all of its text. */
  async text(): Promise<string> {
    return (await this.result()).text;
  }
}

function textOf(output: Output): string {
  if (output.lane === "text") return output.value;
  if (output.lane === "answers") return output.value.text ?? "";
  return "";
}
