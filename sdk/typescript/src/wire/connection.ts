/** Connections to orchestrators and node servers, over gRPC. */

import type { Interceptor, Transport } from "@connectrpc/connect";
import { createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";
import { MAX_MESSAGE_BYTES } from "../codec.js";
import { checkToken, dialOptions, hostOf, type Security } from "./security.js";

/** What a peer may send on one stream before it is read: media moves faster than through the usual 64 KiB. */
export const WINDOW_BYTES = 256 * 1024;
/** The most streams on one connection. */
export const MAX_STREAMS = 64;
/** While there are calls, a ping is sent after so much idleness of a peer, in milliseconds; and how long its answer may take. */
export const PING_MS = 10_000;
export const PING_TIMEOUT_MS = 5_000;
const CONNECT_TIMEOUT_MS = 5_000;

/** One HTTP/2 connection, made when the first call needs it, and made again after it broke. */
export class Connection {
  readonly transport: Transport;
  /** Streams that the pool has assigned to it. */
  streams = 0;
  readonly #manager: Http2SessionManager;

  constructor(
    readonly address: string,
    security: Security,
  ) {
    hostOf(address);
    checkToken(address, security);
    const { token } = security;
    const tls = dialOptions(security);
    const baseUrl = `${tls === undefined ? "http" : "https"}://${address}`;
    const settings = { initialWindowSize: WINDOW_BYTES };
    const timing = {
      pingIntervalMs: PING_MS,
      pingTimeoutMs: PING_TIMEOUT_MS,
      connectTimeoutMs: CONNECT_TIMEOUT_MS,
    };
    this.#manager = new Http2SessionManager(baseUrl, timing, { ...tls, settings });
    this.transport = createGrpcTransport({
      baseUrl,
      sessionManager: this.#manager,
      acceptCompression: [],
      readMaxBytes: MAX_MESSAGE_BYTES,
      writeMaxBytes: MAX_MESSAGE_BYTES,
      interceptors: token === undefined ? [] : [bearer(token)],
    });
  }

  /** Ends the connection with all of its calls. */
  close(): void {
    this.#manager.abort();
  }
}

/** Sends a token with each call. */
export function bearer(token: string): Interceptor {
  return (next) => (request) => {
    request.header.set("authorization", `Bearer ${token}`);
    return next(request);
  };
}

/** Connections to peers, each with at most 64 streams. */
export class ConnectionPool {
  readonly #security: Security;
  readonly #connections = new Map<string, Connection[]>();

  constructor(security: Security) {
    this.#security = security;
  }

  /** A connection with capacity for one more stream. The caller releases it when the stream has ended. */
  acquire(address: string): Connection {
    const connections = this.#connections.get(address) ?? [];
    let found = connections.find((connection) => connection.streams < MAX_STREAMS);
    if (found === undefined) {
      found = new Connection(address, this.#security);
      connections.push(found);
      this.#connections.set(address, connections);
    }
    found.streams += 1;
    return found;
  }

  /** The stream has ended. A connection without streams is closed if the peer has another one. */
  release(connection: Connection): void {
    connection.streams -= 1;
    const connections = this.#connections.get(connection.address) ?? [];
    if (connection.streams === 0 && connections.length > 1) {
      connections.splice(connections.indexOf(connection), 1);
      connection.close();
    }
  }

  /** Ends all connections. */
  close(): void {
    for (const connection of [...this.#connections.values()].flat()) connection.close();
    this.#connections.clear();
  }
}
