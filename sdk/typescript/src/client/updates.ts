/** The updates of a run, as its readers see them. */

import { timestampDate } from "@bufbuild/protobuf/wkt";
import { decodeEnvelope, decodeTyped } from "../codec.js";
import { Code, fromFault, LanemeshError } from "../errors.js";
import type { Gap } from "../gen/lanemesh/v1/run_pb.js";
import { RunState, type TextOutputs, type Update as WireUpdate } from "../gen/lanemesh/v1/update_pb.js";
import type { Envelope, Value } from "../values.js";

/** An item that reached a target: its value with its type, and where it arrived. */
export type Output = Value & {
  /** The target component. */
  readonly component: string;
  /** Its input. */
  readonly port: string;
  /** The name of the result; the id of the target if its config has none. */
  readonly name: string;
  /** Its group and metadata, if it has any. */
  readonly envelope?: Envelope;
};

type WireKind = WireUpdate["kind"];
type Kept = Exclude<WireKind, { case: undefined } | { case: "output" }>;

/** One event of a run. `kind` says which, and the field of that name has it. */
export type Update = {
  /** Number within the run, from 1. */
  readonly sequence: bigint;
  /** When it happened. */
  readonly time: Date;
} & (
  | { readonly kind: "output"; readonly output: Output }
  | { [K in Kept as K["case"]]: { readonly kind: K["case"] } & { readonly [N in K["case"]]: K["value"] } }[Kept["case"]]
);

/** Updates that are no longer kept: this reader does not get them. */
export interface Missed {
  readonly kind: "missed";
  /** Number of the first of them. */
  readonly from: bigint;
  /** Number of the last of them. */
  readonly to: bigint;
}

/** What one frame of a run or of its watcher contains, in the order of the numbers. */
export type Entry = WireUpdate | TextOutputs;

const TERMINAL: readonly RunState[] = [RunState.COMPLETED, RunState.FAILED, RunState.CANCELLED];

/** The entries of a frame in the order of their numbers. */
export function merged(updates: WireUpdate[], texts: TextOutputs[]): Entry[] {
  if (texts.length === 0) return updates;
  if (updates.length === 0) return texts;
  return [...updates, ...texts].sort((one, other) => Number(firstOf(one) - firstOf(other)));
}

/** Number of the first update of an entry. */
function firstOf(entry: Entry): bigint {
  return entry.$typeName === "lanemesh.v1.TextOutputs" ? entry.firstSequence : entry.sequence;
}

/** Number of the last update of an entry. */
export function lastOf(entry: Entry): bigint {
  if (entry.$typeName !== "lanemesh.v1.TextOutputs") return entry.sequence;
  return entry.firstSequence + BigInt(entry.texts.length) - 1n;
}

/** About how many bytes an entry has, as the window of its run counts it. */
export function sizeOf(entry: Entry): number {
  if (entry.$typeName === "lanemesh.v1.TextOutputs") {
    return entry.texts.reduce((sum, text) => sum + text.length + 16, 0);
  }
  if (entry.kind.case !== "output") return 128;
  const payload = entry.kind.value.item?.payload;
  if (payload === undefined || payload.case === undefined) return 64;
  if (typeof payload.value === "string") return payload.value.length + 64;
  return "content" in payload.value ? payload.value.content.length + 64 : 512;
}

/** The updates of an entry. */
export function* fromEntry(entry: Entry): Generator<Update> {
  const time = entry.time === undefined ? new Date(0) : timestampDate(entry.time);
  if (entry.$typeName === "lanemesh.v1.TextOutputs") {
    let sequence = entry.firstSequence;
    const { component, port } = entry;
    const name = entry.name || component;
    for (const value of entry.texts) {
      yield { sequence, time, kind: "output", output: { lane: "text", value, component, port, name } };
      sequence += 1n;
    }
    return;
  }
  const { sequence, kind } = entry;
  if (kind.case === undefined) return;
  if (kind.case !== "output") {
    yield { sequence, time, kind: kind.case, [kind.case]: kind.value } as unknown as Update;
    return;
  }
  const { component, port, item } = kind.value;
  const value = item === undefined ? undefined : decodeTyped(item);
  if (item === undefined || value === undefined) return; // it carries only the end of a group
  const envelope = decodeEnvelope(item);
  const output: Output = {
    ...value,
    component,
    port,
    name: kind.value.name || component,
    ...(envelope && { envelope }),
  };
  yield { sequence, time, kind: "output", output };
}

/** The gap that a watcher reads. */
export function fromGap(gap: Gap): Missed {
  return { kind: "missed", from: gap.fromSequence, to: gap.toSequence };
}

/** Whether this entry is the last one of its run. */
export function isTerminal(entry: Entry): boolean {
  if (entry.$typeName === "lanemesh.v1.TextOutputs" || entry.kind.case !== "job") return false;
  return TERMINAL.includes(entry.kind.value.state);
}

/** The error of a run that has not completed; undefined if it has, or has not ended. */
export function failureOf(update: Update | Missed): LanemeshError | undefined {
  if (update.kind !== "job") return undefined;
  const { state, error, reason, runId } = update.job;
  if (state === RunState.FAILED) {
    if (error !== undefined) return fromFault(error);
    return new LanemeshError({ code: Code.Unknown, reason: "unknown", message: `run ${runId} failed` });
  }
  if (state !== RunState.CANCELLED) return undefined;
  const message = `run ${runId} was cancelled${reason ? `: ${reason}` : ""}`;
  return new LanemeshError({ code: Code.Canceled, reason: "cancelled", message });
}
