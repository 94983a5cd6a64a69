/** Membership in a mesh: one `Register` stream during the life of a server, opened again when it breaks. */

import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { createClient } from "@connectrpc/connect";
import { fromCall } from "../errors.js";
import {
  type RegisterRequest,
  RegisterRequestSchema,
  RegistryService,
  type ServerInfoSchema,
} from "../gen/lanemesh/v1/registry_pb.js";
import { Backoff, Signal, sleep } from "../signal.js";
import { Connection } from "../wire/connection.js";
import { membershipKeyField } from "../wire/keys.js";
import type { Security } from "../wire/security.js";

/** Time between two heartbeats, in milliseconds. */
const BEAT_MS = 5_000;
/** Bounds of the pauses before the orchestrator is dialled again, in milliseconds. */
const PAUSES_MS = [200, 5_000] as const;

/** What a registration reports. */
export interface RegistrationEvents {
  /** The orchestrator knows the server by this name. */
  joined(name: string): void;
  /** A line for the log. */
  warning(message: string): void;
}

/** A node server's membership. */
export class Registration {
  readonly #orchestrator: string;
  readonly #info: MessageInitShape<typeof ServerInfoSchema>;
  readonly #connection: Connection;
  readonly #events: RegistrationEvents;
  readonly #ended = new AbortController();
  readonly #news = new Signal();
  /** Proves to an orchestrator that further streams are those of this process. */
  readonly #key = membershipKeyField();
  #draining = false;
  #keeping: Promise<void> | undefined;

  constructor(
    orchestrator: string,
    info: MessageInitShape<typeof ServerInfoSchema>,
    security: Security,
    events: RegistrationEvents,
  ) {
    this.#orchestrator = orchestrator;
    this.#info = info;
    this.#connection = new Connection(orchestrator, security);
    this.#events = events;
  }

  /** Joins, and joins again whenever the stream breaks, until `close`. The same failure is reported once. */
  start(): void {
    this.#keeping = this.#keep();
  }

  /** Reports that the server takes no new runs. */
  drain(): void {
    this.#draining = true;
    this.#news.fire();
  }

  /** Leaves the mesh. */
  async close(): Promise<void> {
    this.#ended.abort();
    this.#news.fire();
    await this.#keeping;
    this.#connection.close();
  }

  async #keep(): Promise<void> {
    const backoff = new Backoff(...PAUSES_MS);
    const client = createClient(RegistryService, this.#connection.transport);
    let reported = "";
    while (!this.#ended.signal.aborted) {
      let why = "it ended the stream";
      let wasMember = false;
      try {
        for await (const { frame } of client.register(this.#frames(), { signal: this.#ended.signal })) {
          if (frame.case === "registered") {
            wasMember = true;
            this.#events.joined(frame.value.name);
          } else if (frame.case === "warning") {
            this.#events.warning(`the orchestrator at ${this.#orchestrator}: ${frame.value.text}`);
          }
        }
      } catch (error) {
        why = fromCall(error, `the orchestrator at ${this.#orchestrator}`).message;
      }
      if (this.#ended.signal.aborted) return;
      if (wasMember) {
        backoff.reset();
        reported = "";
      }
      if (reported !== why) this.#events.warning(`not joined: ${why}; retrying at least every 5 s`);
      reported = why;
      await sleep(backoff.next(), this.#ended.signal);
    }
  }

  async *#frames(): AsyncGenerator<RegisterRequest, void> {
    yield create(RegisterRequestSchema, { frame: { case: "server", value: this.#info }, ...this.#key });
    let drainSent = false;
    while (!this.#ended.signal.aborted) {
      if (this.#draining && !drainSent) {
        drainSent = true;
        yield create(RegisterRequestSchema, { frame: { case: "draining", value: {} } });
      } else if (!(await this.#news.waitAtMost(BEAT_MS))) {
        yield create(RegisterRequestSchema);
      }
    }
  }
}
