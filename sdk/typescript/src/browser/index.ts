/** Lanemesh for browsers: a client over gRPC-Web, and one over the WebSocket of a gateway. */

export { DetachedRun, type WatchOptions } from "../client/detached.js";
export { OrchestratorClient, PipelineInvalid } from "../client/orchestrator.js";
export { Result, RunReader } from "../client/reader.js";
export type { Input, Pipeline, RunInputs, RunOptions } from "../client/specs.js";
export type { Missed, Output, Update } from "../client/updates.js";
export { Code, LanemeshError } from "../errors.js";
export { NodeState, RunState } from "../gen/lanemesh/v1/update_pb.js";
export type { Json } from "../json.js";
export * from "../values.js";
export { GatewaySocket, type SocketOptions, SocketRun, type SocketUpdate, type WebSocketLike } from "./socket.js";
export { WebClient } from "./web-client.js";
