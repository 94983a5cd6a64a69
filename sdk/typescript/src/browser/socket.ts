/** The client of a gateway over its WebSocket: many runs over one connection, as JSON. */

import type { Pipeline } from "../client/specs.js";
import { Code, LanemeshError, refused } from "../errors.js";
import { type Json, readJson, writeJson } from "../json.js";
import { Signal } from "../signal.js";

type Message = { [field: string]: Json };

/** An update of a run, as `lanemesh run --json` prints it. */
export interface SocketUpdate {
  readonly sequence: number;
  /** Its kind: "job", "node", "edge", "output", "gap" and so on. */
  readonly update: string;
  readonly [field: string]: Json;
}

/** What the socket needs of a WebSocket: that of browsers, or of the package `ws`. */
export interface WebSocketLike {
  binaryType: string;
  send(data: string): void;
  close(): void;
  addEventListener(type: string, listener: (event: { data?: unknown; reason?: string }) => void): void;
}

/** Options of a connection. */
export interface SocketOptions {
  /** The token of the gateway. */
  token?: string;
  /** Makes the WebSocket; by default the one of the browser. */
  connect?: (url: string, protocols: string[]) => WebSocketLike;
}

/** The most updates of one run that wait to be read; then the connection is given up. A WebSocket has no flow control. */
const MAX_WAITING = 100_000;

/** One connection to `/v1/ws` of a gateway. */
export class GatewaySocket {
  readonly #socket: WebSocketLike;
  readonly #opened: Promise<void>;
  readonly #replies = new Map<string, { resolve: (reply: Message) => void; reject: (error: LanemeshError) => void }>();
  readonly #runs = new Map<string, SocketRun>();
  /** An update whose binary frame follows. */
  #awaiting: SocketUpdate | undefined;
  #lastId = 0;
  #closed: LanemeshError | undefined;

  /** @param url of the gateway, such as "https://mesh.example.com". */
  constructor(url: string, { token, connect }: SocketOptions = {}) {
    const target = `${url.replace(/^http/, "ws").replace(/\/$/, "")}/v1/ws`;
    const protocols = token === undefined ? [] : ["lanemesh", `lanemesh.token.${base64Url(token)}`];
    const make = connect ?? ((address, names) => new WebSocket(address, names) as unknown as WebSocketLike);
    this.#socket = make(target, protocols);
    this.#socket.binaryType = "arraybuffer";
    this.#opened = new Promise((resolve, reject) => {
      this.#socket.addEventListener("open", () => resolve());
      this.#socket.addEventListener("close", ({ reason }) => {
        this.#end(`the connection to ${target} is closed${reason ? `: ${reason}` : ""}`);
        if (this.#closed !== undefined) reject(this.#closed);
      });
      this.#socket.addEventListener("error", () => {}); // a close follows
    });
    this.#opened.catch(() => {});
    this.#socket.addEventListener("message", ({ data }) => this.#take(data));
  }

  /**
   * Starts a run. It belongs to the connection, whose end cancels it, unless `detached`.
   *
   * @param options fields of `start` in docs/websocket.md: input, inputs, settings, timeout, open_input, detached and so on.
   */
  async start(pipeline: Pipeline, options: Message = {}): Promise<SocketRun> {
    const reply = await this.#request({ ...options, type: "start", pipeline: pipeline as Json });
    return this.#run(String(reply["run_id"]));
  }

  /** Watches a run from the update after this number on. */
  async watch(runId: string, after = 0): Promise<SocketRun> {
    const run = this.#run(runId);
    await this.#request({ type: "watch", run_id: runId, after });
    return run;
  }

  /** Sends a request of docs/websocket.md; returns the reply. Throws LanemeshError if it is refused. */
  async request(type: string, fields: Message = {}): Promise<Message> {
    return this.#request({ ...fields, type });
  }

  /** Closes the connection, which cancels its runs. */
  close(): void {
    this.#end("the connection was closed");
    this.#socket.close();
  }

  async #request(message: Message): Promise<Message> {
    await this.#opened;
    if (this.#closed !== undefined) throw this.#closed;
    this.#lastId += 1;
    const id = String(this.#lastId);
    const replied = new Promise<Message>((resolve, reject) => this.#replies.set(id, { resolve, reject }));
    this.#socket.send(writeJson({ ...message, id }));
    return replied;
  }

  #run(runId: string): SocketRun {
    let run = this.#runs.get(runId);
    if (run === undefined) {
      run = new SocketRun(this, runId);
      this.#runs.set(runId, run);
    }
    return run;
  }

  #take(data: unknown): void {
    if (typeof data !== "string") {
      const update = this.#awaiting;
      this.#awaiting = undefined;
      if (update === undefined) return;
      const content = new Uint8Array(data as ArrayBuffer);
      const value = { ...(update["value"] as Message), content } as unknown as Json;
      return this.#deliver({ ...update, value });
    }
    const message = readJson(data) as Message;
    const reply = this.#replies.get(String(message["id"]));
    switch (message["type"]) {
      case "update": {
        const update = { ...(message["update"] as Message), run_id: message["run_id"] } as unknown as SocketUpdate;
        if (message["frames"]) this.#awaiting = update;
        else this.#deliver(update);
        return;
      }
      case "gap":
        return this.#deliver({ ...message, update: "gap", sequence: Number(message["to"]) });
      case "end": {
        const run = this.#runs.get(String(message["run_id"]));
        this.#runs.delete(String(message["run_id"]));
        return run?.finish(message["error"] === undefined ? undefined : errorOf(message["error"] as Message));
      }
      case "error":
        this.#replies.delete(String(message["id"]));
        return reply?.reject(errorOf(message["error"] as Message));
      case "started":
        this.#run(String(message["run_id"])); // updates may follow at once
    }
    this.#replies.delete(String(message["id"]));
    reply?.resolve(message);
  }

  #deliver(update: SocketUpdate): void {
    const run = this.#runs.get(String(update["run_id"]));
    if (run !== undefined && !run.put(update)) this.close();
  }

  #end(why: string): void {
    this.#closed ??= new LanemeshError({ code: Code.Unavailable, reason: "unreachable", message: why });
    for (const { reject } of this.#replies.values()) reject(this.#closed);
    this.#replies.clear();
    for (const run of this.#runs.values()) run.finish(this.#closed);
    this.#runs.clear();
  }
}

/** A run of a connection. Its updates can be read once. */
export class SocketRun {
  readonly #waiting: SocketUpdate[] = [];
  readonly #changed = new Signal();
  #ended = false;
  #error: LanemeshError | undefined;

  constructor(
    private readonly socket: GatewaySocket,
    /** The run's id. */
    readonly id: string,
  ) {}

  /** Every update. After the last one the error of a run that has failed or was cancelled is thrown. */
  async *updates(): AsyncGenerator<SocketUpdate, void> {
    let failure: LanemeshError | undefined;
    while (true) {
      const update = this.#waiting.shift();
      if (update !== undefined) {
        failure = failureOf(update) ?? failure;
        yield update;
      } else if (this.#ended) break;
      else await this.#changed.wait();
    }
    const error = failure ?? this.#error;
    if (error !== undefined) throw error;
  }

  /** The texts that reach the targets, as they arrive: text values, and the texts of answers. */
  async *texts(): AsyncGenerator<string, void> {
    for await (const { update, lane, value } of this.updates()) {
      if (update !== "output") continue;
      if (lane === "text") yield value as string;
      else if (lane === "answers") yield String((value as Message)["text"] ?? "");
    }
  }

  /** Reads the run to its end; returns all of its text. */
  async text(): Promise<string> {
    let all = "";
    for await (const text of this.texts()) all += text;
    return all;
  }

  /** Feeds the source one value; returns when the run has taken it. */
  async push(value: Json, port?: string): Promise<void> {
    await this.socket.request("input", { run_id: this.id, value, ...(port !== undefined && { port }) });
  }

  /** Ends the input. */
  async end(): Promise<void> {
    await this.socket.request("input", { run_id: this.id, end: true });
  }

  /** Cancels the run. */
  async cancel(reason = "cancelled by a client"): Promise<void> {
    await this.socket.request("cancel", { run_id: this.id, reason });
  }

  put(update: SocketUpdate): boolean {
    if (this.#waiting.length >= MAX_WAITING) {
      this.finish(refused("subscriber-too-slow", `more than ${MAX_WAITING} updates of run ${this.id} wait to be read`));
      return false;
    }
    this.#waiting.push(update);
    this.#changed.fire();
    return true;
  }

  finish(error?: LanemeshError): void {
    this.#ended = true;
    this.#error ??= error;
    this.#changed.fire();
  }
}

function failureOf(update: SocketUpdate): LanemeshError | undefined {
  if (update.update !== "job") return undefined;
  if (update["state"] === "failed") return errorOf(update["error"] as Message);
  if (update["state"] !== "cancelled") return undefined;
  const message = `the run was cancelled: ${update["reason"] ?? ""}`;
  return new LanemeshError({ code: Code.Canceled, reason: "cancelled", message });
}

function errorOf(error: Message): LanemeshError {
  const name = String(error["code"] ?? "UNKNOWN").toLowerCase();
  const codes = Object.entries(Code) as [string, Code][];
  const found = codes.find(([key]) => key.toLowerCase() === name.replaceAll("_", "").replace("cancelled", "canceled"));
  return new LanemeshError({
    code: typeof found?.[1] === "number" ? found[1] : Code.Unknown,
    reason: String(error["reason"] ?? "unknown"),
    message: String(error["message"] ?? "no reason was given"),
    details: (error["details"] ?? {}) as Record<string, string>,
  });
}

function base64Url(text: string): string {
  const bytes = new TextEncoder().encode(text);
  return btoa(String.fromCharCode(...bytes))
    .replaceAll("+", "-")
    .replaceAll("/", "_")
    .replace(/=+$/, "");
}
