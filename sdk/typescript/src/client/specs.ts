/** Runs as clients describe them: pipeline, options and inputs. */

import { create, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { durationFromMs } from "@bufbuild/protobuf/wkt";
import { encodeTyped, MAX_MESSAGE_BYTES } from "../codec.js";
import { refused } from "../errors.js";
import { type RunInput, RunInputSchema, type RunSpec, RunSpecSchema } from "../gen/lanemesh/v1/run_pb.js";
import { TraceLevel } from "../gen/lanemesh/v1/update_pb.js";
import { type Json, writeJson } from "../json.js";
import { type Envelope, text, type Value } from "../values.js";

/** A pipeline: a document, its JSON text, or the name of a deployed one, as "@name" or "@name:version". */
export type Pipeline = string | { readonly [field: string]: unknown };

/** An input of a run: a text, or a value with its type, such as `question("Why?")`. */
export type Input = string | Value | (Value & { envelope: Envelope });

/** Options of a run. */
export interface RunOptions {
  /** Changes to configs: "component.key" to a JSON value. */
  settings?: Record<string, Json>;
  /** Time limit of the run in seconds; absent: that of the pipeline. */
  timeout?: number;
  /** What is reported of the items. */
  trace?: "none" | "metadata" | "summary" | "full";
  /** Name of the run, for people. */
  name?: string;
  /** Values of the variables that the pipeline names by ${NAME}. Treated as secrets. */
  variables?: Record<string, string>;
  /** The session that the run belongs to: 1 to 128 printable characters. */
  session?: string;
  /** The session is a conversation that the orchestrator keeps. */
  conversation?: { owner?: string; historyTurns?: number; appendHistory?: boolean };
  /** The source that the run takes, of a pipeline that has several. */
  source?: string;
}

/** Inputs of a run. */
export interface RunInputs {
  /** The only input. */
  input?: Input;
  /** All inputs, known or as they come. */
  inputs?: Iterable<Input> | AsyncIterable<Input>;
  /** The input stays open for `push`, until `end`. */
  open?: boolean;
}

const TRACES = {
  none: TraceLevel.NONE,
  metadata: TraceLevel.METADATA,
  summary: TraceLevel.SUMMARY,
  full: TraceLevel.FULL,
};
const DEPLOYED = /^@([a-z0-9_-]{1,64})(?::(\d{1,9}))?$/;

/** The spec of a run. Throws LanemeshError if the name of a deployed pipeline or a setting is invalid. */
export function runSpec(pipeline: Pipeline, options: RunOptions = {}): RunSpec {
  const init: MessageInitShape<typeof RunSpecSchema> = { source: source(pipeline) };
  const settings = Object.entries(options.settings ?? {});
  init.settingsJson = Object.fromEntries(settings.map(([key, value]) => [key, writeJson(value, `the setting ${key}`)]));
  if (options.timeout !== undefined) init.timeout = durationFromMs(options.timeout * 1000);
  if (options.trace !== undefined) init.trace = TRACES[options.trace];
  if (options.name !== undefined) init.name = options.name;
  if (options.variables !== undefined) init.variables = options.variables;
  if (options.session !== undefined) init.sessionId = options.session;
  if (options.conversation !== undefined) init.conversation = options.conversation;
  if (options.source !== undefined) init.sourceComponent = options.source;
  return create(RunSpecSchema, init);
}

function source(pipeline: Pipeline): RunSpec["source"] {
  if (typeof pipeline !== "string") return { case: "pipelineJson", value: JSON.stringify(pipeline) };
  if (!pipeline.startsWith("@")) return { case: "pipelineJson", value: pipeline };
  const found = DEPLOYED.exec(pipeline);
  if (found === null) {
    throw refused("bad-name", `${JSON.stringify(pipeline.slice(0, 200))} is not @NAME or @NAME:VERSION`);
  }
  const reference = {
    $typeName: "lanemesh.v1.DeploymentReference" as const,
    name: found[1] ?? "",
    version: Number(found[2] ?? 0),
  };
  return { case: "deployment", value: reference };
}

/** An input as a run takes it. Throws LanemeshError if no lane can carry it, or it is larger than a message. */
export function runInput(input: Input, port = ""): RunInput {
  const value: Value = typeof input === "string" ? text(input) : input;
  const envelope = typeof input === "object" && "envelope" in input ? input.envelope : {};
  const given = create(RunInputSchema, { port, item: encodeTyped(value, "the client", envelope) });
  const size = sizeOfInput(given);
  if (size > MAX_MESSAGE_BYTES) {
    const limit = `a message to an orchestrator has at most ${MAX_MESSAGE_BYTES} bytes (16 MiB)`;
    throw refused(
      "message-too-large",
      `an input has ${size} bytes, but ${limit}. Send media with a \`uri\`, or in pieces`,
    );
  }
  return given;
}

/** The bytes of an input on the wire. */
export function sizeOfInput(input: RunInput): number {
  return toBinary(RunInputSchema, input).length;
}

/** The inputs of a run, known or as they come. Throws LanemeshError if both `input` and `inputs` are given. */
export function allInputs(given: RunInputs): Iterable<Input> | AsyncIterable<Input> {
  if (given.input !== undefined && given.inputs !== undefined) {
    throw refused("bad-value", "a run gets either `input` or `inputs`");
  }
  return given.input !== undefined ? [given.input] : (given.inputs ?? []);
}
