/** A node server: serves node types to orchestrators and lanes to its peers, and joins a mesh. */

import { randomBytes } from "node:crypto";
import * as http2 from "node:http2";
import type { AddressInfo } from "node:net";
import { timestampNow } from "@bufbuild/protobuf/wkt";
import { connectNodeAdapter } from "@connectrpc/connect-node";
import { MAX_MESSAGE_BYTES } from "../codec.js";
import { Code, LanemeshError, refused } from "../errors.js";
import type { Manifest } from "../gen/lanemesh/v1/node_pb.js";
import { PROTOCOL_VERSION } from "../lanes/sender.js";
import type { NodeType } from "../node/define.js";
import { Signal, within } from "../signal.js";
import { ConnectionPool, PING_MS, PING_TIMEOUT_MS, WINDOW_BYTES } from "../wire/connection.js";
import { LANE_KEYS } from "../wire/keys.js";
import { hostOf, isLoopback, type Security, securityFromEnvironment } from "../wire/security.js";
import type { HostedRun } from "./hosted-run.js";
import { Registration } from "./registration.js";
import { addServices, type ServedHost } from "./services.js";
import { AcceptedTokens, requiringTokens } from "./tokens.js";

/** The version of this package. */
export const VERSION = "0.1.0";
/** What it supports beyond the base of the protocol. */
const FEATURES = ["groups", ...LANE_KEYS];
/** Runs under way may take so long when a server closes, in milliseconds. */
const CLOSE_MS = 10_000;
/** The most streams that one peer may open on a connection. */
const MAX_CONCURRENT_STREAMS = 1_000;

/** Options of a node server. */
export interface ServeOptions {
  /** The node types that it offers. */
  nodes: NodeType[];
  /** Address of the orchestrator to join, "host:port"; absent: none, `lanemesh serve --server` connects to it. */
  orchestrator?: string;
  /** Address to listen on; by default 127.0.0.1. */
  host?: string;
  /** Port to listen on; by default any free one. */
  port?: number;
  /** Address at which others reach it, "host:port"; by default where it listens. */
  advertise?: string;
  /** Name in listings and placements; by default "typescript". */
  name?: string;
  /** Labels by which components may choose it. */
  labels?: Record<string, string>;
  /** The most components at once; 0: no limit. */
  maxInstances?: number;
  /** Its node types replace those of servers that were started before it. */
  replaces?: boolean;
  /** TLS and token; absent: those of the environment. */
  security?: Security;
  /** TOML file with the tokens that it accepts, of which calls need one; by default LANEMESH_AUTH of the environment. */
  auth?: string;
  /** Requires clients to have a certificate of the authority; by default LANEMESH_MTLS=1 of the environment. */
  mtls?: boolean;
  /** Allows unencrypted connections from other machines. */
  insecure?: boolean;
  /** Gets the lines of its log; by default they go to standard error. */
  log?: (line: string) => void;
}

/** A server that was started by `serve`. */
export class NodeServer implements ServedHost, AsyncDisposable {
  readonly features: readonly string[] = FEATURES;
  readonly instanceId = randomBytes(8).toString("hex");
  readonly version = VERSION;
  readonly runs = new Map<string, HostedRun>();
  readonly pool: ConnectionPool;
  readonly manifests: Manifest[];
  readonly maxInstances: number;
  readonly servingChanged = new Signal();
  name: string;
  draining = false;
  serving = false;
  /** Where others reach it: "host:port". */
  address = "";
  /** Resolves when the orchestrator knows it. */
  readonly joined: Promise<string>;
  readonly #types = new Map<string, NodeType>();
  readonly #options: ServeOptions;
  readonly #security: Security;
  readonly #sessions = new Set<http2.Http2Session>();
  readonly #server: http2.Http2Server | http2.Http2SecureServer;
  #registration: Registration | undefined;
  #onJoined: (name: string) => void = () => {};

  constructor(options: ServeOptions) {
    this.#options = options;
    this.#security = { ...securityFromEnvironment(), ...options.security };
    this.name = options.name ?? "typescript";
    this.maxInstances = options.maxInstances ?? 0;
    this.pool = new ConnectionPool(this.#security);
    for (const type of options.nodes) {
      if (this.#types.has(type.provider)) throw refused("bad-node", `two node types are called "${type.provider}"`);
      this.#types.set(type.provider, type);
    }
    this.manifests = [...this.#types.values()].map((type) => type.manifest);
    this.joined = new Promise((resolve) => {
      this.#onJoined = resolve;
    });
    this.#server = this.#makeServer();
    this.#server.on("session", (session) => this.#keepAlive(session));
  }

  /** Number of components that it hosts now. */
  get activeInstances(): number {
    return [...this.runs.values()].reduce((sum, run) => sum + run.instances, 0);
  }

  /** A node type. Throws LanemeshError if there is none of this name. */
  nodeType(provider: string): NodeType {
    const type = this.#types.get(provider);
    if (type !== undefined) return type;
    const known = [...this.#types.keys()].join(", ") || "none";
    const message = `the node server "${this.name}" has no node type "${provider}"; it has ${known}`;
    throw new LanemeshError({ code: Code.NotFound, reason: "unknown-provider", message });
  }

  /** Listens, and starts to join the mesh. */
  async start(): Promise<void> {
    const { host = "127.0.0.1", port = 0, orchestrator } = this.#options;
    await new Promise<void>((resolve, reject) => {
      this.#server.once("error", (error) => {
        const message = `cannot listen on ${host}:${port}: ${error.message}. Choose another port or host`;
        reject(new LanemeshError({ code: Code.Unavailable, reason: "port-in-use", message }, { cause: error }));
      });
      this.#server.listen(port, host, resolve);
    });
    const bound = this.#server.address() as AddressInfo;
    this.address = this.#options.advertise ?? `${host.includes(":") ? `[${host}]` : host}:${bound.port}`;
    hostOf(this.address);
    this.serving = true;
    this.servingChanged.fire();
    if (orchestrator === undefined) return;
    const info = {
      name: this.name,
      address: this.address,
      protocolVersion: PROTOCOL_VERSION,
      manifests: this.manifests,
      pid: BigInt(process.pid),
      labels: this.#options.labels ?? {},
      softwareVersion: this.version,
      maxInstances: this.maxInstances,
      features: [...this.features],
      instanceId: this.instanceId,
      replaces: this.#options.replaces ?? false,
      startedAt: timestampNow(),
    };
    const log = this.#options.log ?? ((line) => process.stderr.write(`lanemesh: ${line}\n`));
    this.#registration = new Registration(orchestrator, info, this.#security, {
      joined: (name) => {
        this.name = name;
        log(`joined as ${name}, reached at ${this.address}`);
        this.#onJoined(name);
      },
      warning: log,
    });
    this.#registration.start();
  }

  /** Takes no new runs. Resolves when the present ones have ended, or after so many milliseconds. */
  async drain(milliseconds = 30_000): Promise<boolean> {
    this.draining = true;
    this.serving = false;
    this.servingChanged.fire();
    this.#registration?.drain();
    const until = performance.now() + milliseconds;
    while (this.runs.size > 0 && performance.now() < until) await new Promise((resolve) => setTimeout(resolve, 20));
    return this.runs.size === 0;
  }

  /** Leaves the mesh, cancels the runs, and stops listening. */
  async close(): Promise<void> {
    this.draining = true;
    this.serving = false;
    this.servingChanged.fire();
    await this.#registration?.close();
    const cancelling = [...this.runs.values()].map((run) => run.cancel("the node server stops"));
    await within(Promise.all(cancelling), CLOSE_MS);
    const until = performance.now() + CLOSE_MS;
    while (this.runs.size > 0 && performance.now() < until) await new Promise((resolve) => setTimeout(resolve, 20));
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const session of this.#sessions) session.destroy();
    await within(closed, CLOSE_MS);
    this.pool.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #makeServer(): http2.Http2Server | http2.Http2SecureServer {
    const { host = "127.0.0.1", insecure = false } = this.#options;
    const mtls = this.#options.mtls ?? process.env["LANEMESH_MTLS"] === "1";
    const auth = this.#options.auth ?? process.env["LANEMESH_AUTH"];
    const handler = connectNodeAdapter({
      interceptors: auth ? [requiringTokens(new AcceptedTokens(auth))] : [],
      routes: (router) => addServices(router, this),
      connect: false,
      grpcWeb: false,
      acceptCompression: [],
      readMaxBytes: MAX_MESSAGE_BYTES,
      writeMaxBytes: MAX_MESSAGE_BYTES,
    });
    const settings = { initialWindowSize: WINDOW_BYTES, maxConcurrentStreams: MAX_CONCURRENT_STREAMS };
    const { tls } = this.#security;
    if (tls?.cert !== undefined && tls.key !== undefined) {
      const { cert, key, ca } = tls;
      const verifying = mtls ? { ca, requestCert: true, rejectUnauthorized: true } : {};
      return http2.createSecureServer({ cert, key, ...verifying, settings }, handler);
    }
    if (mtls)
      throw refused("bad-config", "mtls needs a certificate and a key: set tls (or LANEMESH_TLS_CERT and _KEY)");
    if (!insecure && !isLoopback(host)) {
      const message =
        `${host} can be reached from other machines, and nothing here is encrypted or authenticated. ` +
        "Listen on 127.0.0.1, set tls, or set `insecure` if the network is trusted";
      throw new LanemeshError({ code: Code.FailedPrecondition, reason: "insecure", message });
    }
    return http2.createServer({ settings }, handler);
  }

  /** Ends the connection of a peer that answers no pings. */
  #keepAlive(session: http2.ServerHttp2Session): void {
    this.#sessions.add(session);
    session.on("error", () => {}); // a connection that breaks ends its calls, which report it
    let alive = true;
    const timer = setInterval(() => {
      if (!alive) return session.destroy();
      alive = false;
      session.ping(() => {
        alive = true;
      });
    }, PING_MS + PING_TIMEOUT_MS);
    timer.unref();
    session.once("close", () => {
      clearInterval(timer);
      this.#sessions.delete(session);
    });
  }
}

/**
 * Starts a node server: it listens, and joins the mesh of an orchestrator if one is given.
 *
 * Throws LanemeshError if it cannot listen, or the host can be reached from other machines without TLS and without `insecure`.
 */
export async function serve(options: ServeOptions): Promise<NodeServer> {
  const server = new NodeServer(options);
  await server.start();
  return server;
}
