/** Errors of a mesh: one class, with a code, a reason and a place. */

import { fromBinary, type MessageInitShape } from "@bufbuild/protobuf";
import { Code as ConnectCode, ConnectError } from "@connectrpc/connect";
import { DebugInfoSchema, ErrorInfoSchema } from "./gen/google/rpc/error_details_pb.js";
import { StatusSchema } from "./gen/google/rpc/status_pb.js";
import { type Fault, FaultSchema } from "./gen/lanemesh/v1/fault_pb.js";

/** The gRPC status codes. */
export const Code = ConnectCode;
export type Code = ConnectCode;

const DOMAIN = "lanemesh";
/** The longest text of a fault, in characters. */
const MAX_TEXT = 16_384;

/** What an error consists of. */
export interface ErrorParts {
  /** The gRPC status code. */
  code: Code;
  /** Machine-readable reason in kebab case. */
  reason: string;
  /** The error, its place and what to do next. */
  message: string;
  /** The place: "component", "server", "lane" and similar keys. */
  details?: Record<string, string>;
  /** The frames of the node's code; empty if there are none. */
  traceback?: string;
  /** It is the consequence of another error. */
  secondary?: boolean;
}

/** An error of a mesh: of a run, a node, a lane, a call or an argument. */
export class LanemeshError extends Error {
  override readonly name = "LanemeshError";
  readonly code: Code;
  /** Machine-readable reason in kebab case, as in docs/reasons.md, or one that a node defines. */
  readonly reason: string;
  readonly details: Readonly<Record<string, string>>;
  /** The frames of the failed node's code, of whatever language; empty if there are none. */
  readonly traceback: string;
  /** It is the consequence of another error: of a lane, a lost connection or a cancellation. */
  readonly secondary: boolean;

  constructor(parts: ErrorParts, options?: ErrorOptions) {
    super(parts.message, options);
    this.code = parts.code;
    this.reason = parts.reason;
    this.details = { ...parts.details };
    this.traceback = parts.traceback ?? "";
    this.secondary = parts.secondary ?? false;
  }

  /** The component that failed; undefined if the error has no component. */
  get component(): string | undefined {
    return this.details["component"];
  }

  /** The same error with details that it does not have yet, or as a consequence. */
  with(changes: { details?: Record<string, string>; secondary?: boolean }): LanemeshError {
    const details = { ...changes.details, ...this.details };
    return new LanemeshError(
      {
        code: this.code,
        reason: this.reason,
        message: this.message,
        details,
        traceback: this.traceback,
        secondary: changes.secondary ?? this.secondary,
      },
      { cause: this.cause },
    );
  }
}

/** The error that a fault in a frame or an update carries. */
export function fromFault(fault: Fault): LanemeshError {
  return new LanemeshError({
    code: codeOf(fault.code),
    reason: fault.reason || "unknown",
    message: fault.message || "no reason was given",
    details: fault.details,
    traceback: fault.traceback,
    secondary: fault.secondary,
  });
}

/** The fault that carries an error in a frame or an update. */
export function toFault(error: LanemeshError): MessageInitShape<typeof FaultSchema> {
  const details = Object.fromEntries(Object.entries(error.details).map(([key, value]) => [key, cut(value)]));
  return {
    code: error.code,
    message: cut(error.message),
    reason: error.reason,
    details,
    traceback: cut(error.traceback),
    secondary: error.secondary,
  };
}

/** The error of whatever a node's code has thrown: itself, or "node-error" with its type, message and stack. */
export function fromThrown(thrown: unknown, details: Record<string, string> = {}): LanemeshError {
  if (thrown instanceof LanemeshError) return thrown.with({ details });
  const kind = thrown instanceof Error ? thrown.name || thrown.constructor.name : typeof thrown;
  const text = thrown instanceof Error ? thrown.message : String(thrown);
  return new LanemeshError(
    {
      code: Code.Unknown,
      reason: "node-error",
      message: text ? `${kind}: ${text}` : kind,
      details: { ...details, exception: kind },
      traceback: thrown instanceof Error ? framesOf(thrown) : "",
    },
    { cause: thrown },
  );
}

/**
 * The error of a failed call: what the other side sent, or that it cannot be reached.
 *
 * @param signal of the caller: if it has aborted, that is the cause.
 */
export function fromCall(thrown: unknown, peer: string, signal?: AbortSignal): LanemeshError {
  if (thrown instanceof LanemeshError) return thrown;
  const error = ConnectError.from(thrown);
  const sent = sentError(error);
  if (sent !== undefined) return sent;
  if (signal?.aborted) {
    const message = `the call to ${peer} was aborted by its caller`;
    return new LanemeshError({ code: Code.Canceled, reason: "cancelled", message }, { cause: thrown });
  }
  // A connection that is lost under a call is seen as a reset of its stream: CANCEL.
  const system = systemErrorOf(error);
  if (error.code === Code.Unavailable || error.code === Code.Canceled || system !== undefined) {
    const isTls = system !== undefined && /SSL|TLS|CERT|SIGNATURE/.test(system);
    const hint = isTls
      ? "Do both sides use TLS, with certificates of the same authority?"
      : "Does the server run there?";
    return new LanemeshError(
      {
        code: Code.Unavailable,
        reason: "unreachable",
        message: `${peer} cannot be reached: ${error.rawMessage}. ${hint}`,
        secondary: true,
      },
      { cause: thrown },
    );
  }
  const name = Code[error.code];
  return new LanemeshError(
    { code: error.code, reason: "call-failed", message: `${peer} answered ${name}: ${error.rawMessage}` },
    { cause: thrown },
  );
}

/** Whether the connection of a failed call broke, so that a further call may succeed. */
export function isBroken(thrown: unknown): boolean {
  if (thrown instanceof LanemeshError) return false;
  const error = ConnectError.from(thrown);
  if (sentError(error) !== undefined) return false;
  return [Code.Unavailable, Code.Internal, Code.Unknown, Code.Aborted, Code.Canceled].includes(error.code);
}

/** The error that ends a call of a gRPC server, with its fault in the trailing metadata. */
export function toConnectError(error: LanemeshError): ConnectError {
  const failure = new ConnectError(error.message.slice(0, 500), error.code);
  failure.details.push({
    desc: ErrorInfoSchema,
    value: { reason: error.reason, domain: DOMAIN, metadata: { ...error.details } },
  });
  if (error.secondary) failure.details.push({ desc: FaultSchema, value: { secondary: true } });
  return failure;
}

/** The error of an argument, a value or a definition that is refused. */
export function refused(reason: string, message: string, details: Record<string, string> = {}): LanemeshError {
  return new LanemeshError({ code: Code.InvalidArgument, reason, message, details });
}

/** The error of what was cancelled. */
export function cancelled(message: string): LanemeshError {
  return new LanemeshError({ code: Code.Canceled, reason: "cancelled", message, secondary: true });
}

/** The code of the error of Node.js that a call failed with, such as "ECONNRESET"; undefined if there is none. */
function systemErrorOf(error: Error): string | undefined {
  let cause = error.cause;
  for (let depth = 0; cause instanceof Error && depth < 5; depth++) {
    const { code } = cause as { code?: unknown };
    if (typeof code === "string") return code;
    cause = cause.cause;
  }
  return undefined;
}

function sentError(error: ConnectError): LanemeshError | undefined {
  const info = error.findDetails(ErrorInfoSchema).find((found) => found.domain === DOMAIN);
  if (info === undefined) return undefined;
  return new LanemeshError(
    {
      code: error.code,
      reason: info.reason,
      message: fullMessage(error),
      details: info.metadata,
      traceback: error.findDetails(DebugInfoSchema)[0]?.detail ?? "",
      secondary: error.findDetails(FaultSchema)[0]?.secondary ?? false,
    },
    { cause: error },
  );
}

/** The message of a failed call. The plain one is cut by the server; that of its google.rpc.Status is whole. */
function fullMessage(error: ConnectError): string {
  const encoded = error.metadata.get("grpc-status-details-bin");
  if (encoded === null) return error.rawMessage;
  try {
    const bytes = Uint8Array.from(atob(encoded), (character) => character.charCodeAt(0));
    return fromBinary(StatusSchema, bytes).message || error.rawMessage;
  } catch {
    return error.rawMessage;
  }
}

/** The frames of a stack that belong to the author: neither Node.js nor this package. */
function framesOf(error: Error): string {
  const lines = (error.stack ?? "").split("\n").filter((line) => line.trimStart().startsWith("at "));
  const own = lines.filter((line) => !line.includes("node:internal"));
  return own.slice(0, 30).join("\n");
}

function codeOf(code: number): Code {
  return code >= 1 && code <= 16 ? code : Code.Unknown;
}

function cut(text: string): string {
  return text.length <= MAX_TEXT ? text : `${text.slice(0, MAX_TEXT - 1)}…`;
}
