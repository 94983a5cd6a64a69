/** Lanemesh for Node.js: a client of a mesh, and node servers. */

export { Client } from "./client/client.js";
export { DetachedRun, type WatchOptions } from "./client/detached.js";
export { OrchestratorClient, PipelineInvalid } from "./client/orchestrator.js";
export { Result, RunReader } from "./client/reader.js";
export { Run } from "./client/run.js";
export type { Sessions, Turn } from "./client/sessions.js";
export type { Input, Pipeline, RunInputs, RunOptions } from "./client/specs.js";
export type { Missed, Output, Update } from "./client/updates.js";
export { LANE_TYPES } from "./codec.js";
export { Code, LanemeshError } from "./errors.js";
export { NodeState, RunState } from "./gen/lanemesh/v1/update_pb.js";
export type { Json } from "./json.js";
export type { Context } from "./node/context.js";
export {
  type Body,
  defineNode,
  type InputPort,
  type InputPorts,
  type NodeSpec,
  type NodeType,
  type OutputPort,
  type OutputPorts,
} from "./node/define.js";
export type { InputItem, Inputs, Outputs } from "./node/streams.js";
export { NodeServer, type ServeOptions, serve, VERSION } from "./server/node-server.js";
export * from "./values.js";
export type { Security, Tls } from "./wire/security.js";
