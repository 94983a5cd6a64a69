/** Node types: their ports, their config and their body. */

import { create } from "@bufbuild/protobuf";
import { z } from "zod";
import { LANE_TYPES, toWireLane } from "../codec.js";
import { refused } from "../errors.js";
import { type Manifest, ManifestSchema, Multiplicity, SyncMode } from "../gen/lanemesh/v1/node_pb.js";
import type { LaneType, ValueOf } from "../values.js";
import type { Context } from "./context.js";
import type { Inputs, Outputs } from "./streams.js";

/** An input: the type of its lane, or that with more about it. */
export type InputPort =
  | LaneType
  | {
      lane: LaneType;
      /** It must be connected, and must have an item before the node fires; the default. */
      required?: boolean;
      /** It collects all its items into one array. */
      list?: boolean;
      /** It takes whole answers or files, assembled from their pieces. */
      whole?: boolean;
      description?: string;
    };

/** An output: the type of its lane, or that with more about it. */
export type OutputPort =
  | LaneType
  | {
      lane: LaneType;
      /** The items of one firing of a generator are the pieces of one whole. Answers always are. */
      pieces?: boolean;
      /** It sends at most one item in a run. */
      one?: boolean;
      description?: string;
    };

export type InputPorts = Readonly<Record<string, InputPort>>;
export type OutputPorts = Readonly<Record<string, OutputPort>>;

type LaneOf<P> = P extends LaneType ? P : P extends { lane: infer L extends LaneType } ? L : never;

/** The value of an input: an array if it collects, and perhaps undefined if it is not required. */
export type InputValue<P> = P extends { list: true }
  ? ValueOf[LaneOf<P>][]
  : P extends { required: false }
    ? ValueOf[LaneOf<P>] | undefined
    : ValueOf[LaneOf<P>];

export type InputValues<I> = { [K in keyof I]: InputValue<I[K]> };
/** Values by output; an output without a value sends nothing. */
export type OutputValues<O> = { [K in keyof O]?: ValueOf[LaneOf<O[K]>] };
/** The value of an output, by the name of the port. */
export type PortValue<P, K extends keyof P> = ValueOf[LaneOf<P[K]>];

/** The description of a node type. */
export interface NodeSpec<I extends InputPorts, O extends OutputPorts, C extends z.ZodType> {
  /** The name that pipelines use, in snake_case. */
  name: string;
  /** What it does; the first line is a summary. */
  description?: string;
  version?: string;
  inputs: I;
  outputs: O;
  /** Its settings. Unknown ones are refused. */
  config?: C;
  /** When a node that fires does so, unless a component sets another mode; by default "on_any". */
  syncMode?: "on_any" | "zip_all";
  /** It continues when no consumer takes its outputs any more. */
  runsToEnd?: boolean;
}

type Awaitable<T> = T | Promise<T>;

/** What a node type does: exactly one of `process`, `generate` and `run`. */
export interface Body<I, O, C> {
  /** Fires once per set of inputs; returns the values of its outputs. */
  process?(inputs: InputValues<I>, context: Context<C>): Awaitable<OutputValues<O> | undefined | void>;
  /** Fires once per set of inputs; yields values of its outputs, each of which is sent before the next step. */
  generate?(
    inputs: InputValues<I>,
    context: Context<C>,
  ): AsyncIterable<OutputValues<O>, void, undefined> | Iterable<OutputValues<O>, void, undefined>;
  /** Runs once; reads its inputs and sends by its outputs itself. */
  run?(inputs: Inputs<I>, outputs: Outputs<O>, context: Context<C>): Awaitable<void>;
  /** Called at the end of the node, however it ended; at most 5 s. */
  finalize?(context: Context<C>): Awaitable<void>;
}

/** A class of which each component of a run gets an object. */
export type BodyClass<I, O, C> = new () => Body<I, O, C>;

/** What is erased of a port's type. */
export interface Port {
  name: string;
  lane: LaneType;
  required: boolean;
  list: boolean;
  whole: boolean;
  pieces: boolean;
}

/** A node type that a node server offers. */
export interface NodeType {
  readonly provider: string;
  readonly kind: "process" | "generate" | "run";
  readonly inputs: ReadonlyMap<string, Port>;
  readonly outputs: ReadonlyMap<string, Port>;
  readonly syncMode: "on_any" | "zip_all";
  readonly runsToEnd: boolean;
  readonly manifest: Manifest;
  /** The config of an instance. Throws ZodError if it is invalid. */
  parseConfig(value: unknown): unknown;
  /** The body of one component of a run. */
  // biome-ignore lint/suspicious/noExplicitAny: the types of ports and config are erased here
  body(): Body<any, any, any>;
}

const NAME = /^[a-z][a-z0-9_]{0,63}$/;

/**
 * A node type from its description and its body: an object with one of `process`, `generate` and `run`, or a class of such
 * objects.
 *
 * Throws LanemeshError ("bad-node") if they contradict one another.
 */
export function defineNode<
  const I extends InputPorts,
  const O extends OutputPorts,
  C extends z.ZodType = z.ZodObject<Record<string, never>>,
>(
  spec: NodeSpec<I, O, C>,
  body: Body<NoInfer<I>, NoInfer<O>, z.output<C>> | BodyClass<NoInfer<I>, NoInfer<O>, z.output<C>>,
): NodeType {
  if (!NAME.test(spec.name)) throw badNode(spec.name, "its name is not in snake_case");
  const methods = typeof body === "function" ? body.prototype : body;
  const kinds = (["process", "generate", "run"] as const).filter((kind) => typeof methods[kind] === "function");
  const [kind] = kinds;
  if (kind === undefined || kinds.length > 1) {
    throw badNode(spec.name, `it has ${kinds.join(" and ") || "none"} of process, generate and run; it needs one`);
  }
  const inputs = ports(spec.name, spec.inputs);
  const outputs = ports(spec.name, spec.outputs);
  if (kind === "run" && [...inputs.values()].some((port) => port.list)) {
    throw badNode(spec.name, "an input of `run` is no list: `run` reads the items itself");
  }
  const config = strict(spec.config ?? z.object({}));
  return {
    provider: spec.name,
    kind,
    inputs,
    outputs,
    syncMode: spec.syncMode ?? "on_any",
    runsToEnd: spec.runsToEnd ?? false,
    manifest: manifestOf(spec, kind, inputs, config),
    parseConfig: (value) => config.parse(value),
    body: () => (typeof body === "function" ? new body() : body),
  };
}

function ports(node: string, given: InputPorts | OutputPorts): Map<string, Port> {
  const found = new Map<string, Port>();
  for (const [name, port] of Object.entries(given)) {
    const more: { lane: LaneType; required?: boolean; list?: boolean; whole?: boolean; pieces?: boolean } =
      typeof port === "string" ? { lane: port } : port;
    if (!NAME.test(name)) throw badNode(node, `the name of the port ${JSON.stringify(name)} is not in snake_case`);
    if (!LANE_TYPES.includes(more.lane)) throw badNode(node, `there is no lane type ${JSON.stringify(more.lane)}`);
    const list = more.list ?? false;
    found.set(name, {
      name,
      lane: more.lane,
      required: !list && (more.required ?? true),
      list,
      whole: more.whole ?? false,
      pieces: (more.pieces ?? false) || more.lane === "answers",
    });
  }
  return found;
}

/** The schema that refuses unknown settings. */
function strict(config: z.ZodType): z.ZodType {
  return config instanceof z.ZodObject ? config.strict() : config;
}

function manifestOf<I extends InputPorts, O extends OutputPorts, C extends z.ZodType>(
  spec: NodeSpec<I, O, C>,
  kind: NodeType["kind"],
  inputs: Map<string, Port>,
  config: z.ZodType,
): Manifest {
  const { $schema: _, ...schema } = z.toJSONSchema(config, { io: "input" });
  return create(ManifestSchema, {
    provider: spec.name,
    version: spec.version ?? "0.1.0",
    description: spec.description ?? "",
    service: "typescript",
    inputs: Object.entries<InputPort>(spec.inputs).map(([name, port]) => {
      const { lane, required, list, whole } = inputs.get(name) as Port;
      const description = typeof port === "string" ? "" : (port.description ?? "");
      return { name, laneType: toWireLane(lane), required, list, assembled: whole, description };
    }),
    outputs: Object.entries<OutputPort>(spec.outputs).map(([name, port]) => {
      const more = typeof port === "string" ? { lane: port } : port;
      const multiplicity = more.one ? Multiplicity.ONE : Multiplicity.UNSPECIFIED;
      return { name, laneType: toWireLane(more.lane), multiplicity, description: more.description ?? "" };
    }),
    isStreamingInput: kind === "run",
    isStreamingOutput: kind !== "process",
    syncMode: spec.syncMode === "zip_all" ? SyncMode.ZIP_ALL : SyncMode.ON_ANY,
    configSchemaJson: JSON.stringify(schema),
    runsToEnd: spec.runsToEnd ?? false,
  });
}

function badNode(name: string, why: string): Error {
  return refused("bad-node", `the node type ${JSON.stringify(name)}: ${why}`);
}
