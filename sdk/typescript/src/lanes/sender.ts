/** The producer end of a lane: over gRPC to another server, or directly into an inbox of this one. */

import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { ConnectError, createClient } from "@connectrpc/connect";
import { encodeEnvelope, type encodeValue, type LaneItem, payloadBytes, withBytes } from "../codec.js";
import { Code, fromCall, fromFault, LanemeshError, toFault } from "../errors.js";
import { type ExchangeRequest, ExchangeRequestSchema, type ExchangeResponse } from "../gen/lanemesh/v1/lane_pb.js";
import { NodeService, type Place, type Edge as WireEdge } from "../gen/lanemesh/v1/node_pb.js";
import { Signal, within } from "../signal.js";
import type { Envelope } from "../values.js";
import type { Connection, ConnectionPool } from "../wire/connection.js";
import { laneKeyField, laneKeyOf } from "../wire/keys.js";
import type { Edge } from "./inbox.js";
import { plainTexts } from "./plain-texts.js";

/** After so much idleness a stream carries an empty frame, in milliseconds, since proxies cut silent streams. */
export const HEARTBEAT_MS = 20_000;
/** The protocol version, for people. */
export const PROTOCOL_VERSION = 1;
/** The time from `open` to `accepted`, in milliseconds: a stream beyond a server's limit hangs without an error. */
const OPEN_MS = 10_000;
/** An aborted lane may take so long to report that before its call is cancelled. */
const ABORT_MS = 500;
const MAX_FRAME_ITEMS = 256;
const MAX_FRAME_BYTES = 256 * 1024;
const CHUNK_BYTES = 1024 * 1024;

/** A value on its way out: as protobuf has it, and as another node of this server takes it. */
export interface Outgoing {
  payload: ReturnType<typeof encodeValue>["payload"] | undefined;
  item: LaneItem;
  size: number;
  envelope: Envelope | undefined;
}

/** The producer end of one lane. */
export interface LaneSender {
  readonly edgeId: string;
  /** Items accepted from the producer. */
  readonly sent: number;
  /** The consumer takes no more, or the lane is broken. */
  readonly stopped: boolean;
  /** The cause, if the consumer failed or the lane broke. */
  readonly fault: LanemeshError | undefined;
  /** `offer` would not accept an item now. */
  readonly full: boolean;
  /** Fires when there may be capacity, or never will be. */
  readonly freed: Signal;
  /** Opens the lane. Throws LanemeshError if the consumer refuses it or does not answer in time. */
  open(): Promise<void>;
  /** Accepts an item if there is capacity. */
  offer(outgoing: Outgoing): boolean;
  /** Ends the lane, cleanly or with a fault. Accepted items are still sent. Only the first end counts. */
  end(fault?: LanemeshError): void;
  /** Waits until the consumer has taken or discarded every item, or the lane broke. */
  closed(): Promise<void>;
  /** Ends the lane with a fault now. Unsent items are dropped. Resolves within a second. */
  abort(fault: LanemeshError): Promise<void>;
  /** Its counts, for a probe. */
  counts(): { taken: number; limitItems: number; heldBytes: number; limitBytes: number; ended: boolean };
}

/** A lane within this server. */
export class MemorySender implements LaneSender {
  readonly freed: Signal;
  sent = 0;
  #ended = false;

  constructor(readonly edge: Edge) {
    this.freed = edge.changed;
  }

  get edgeId(): string {
    return this.edge.id;
  }

  get stopped(): boolean {
    return this.edge.stopped;
  }

  get fault(): LanemeshError | undefined {
    return this.edge.stopFault?.with({ details: { lane: this.edge.id }, secondary: true });
  }

  get full(): boolean {
    return this.edge.full;
  }

  async open(): Promise<void> {}

  offer(outgoing: Outgoing): boolean {
    if (this.edge.stopped || this.edge.full) return false;
    this.sent += 1;
    this.edge.put(outgoing.item);
    return true;
  }

  end(fault?: LanemeshError): void {
    if (this.#ended) return;
    this.#ended = true;
    this.edge.end(fault?.with({ details: { lane: this.edge.id }, secondary: true }));
  }

  async closed(): Promise<void> {
    while (!(this.edge.ended && this.edge.bufferedItems <= 0) && !this.edge.stopped) await this.edge.changed.wait();
  }

  async abort(fault: LanemeshError): Promise<void> {
    this.end(fault);
  }

  counts() {
    const { taken, limitItems, limitBytes, ended, stopped } = this.edge;
    return { taken, limitItems, heldBytes: 0, limitBytes, ended: ended || stopped };
  }
}

/** Sends the items of one edge over one `Exchange` call. The frames are drawn when the previous one was written: they coalesce. */
export class GrpcSender implements LaneSender {
  readonly edgeId: string;
  readonly freed = new Signal();
  sent = 0;
  stopped = false;
  fault: LanemeshError | undefined;
  readonly #edge: WireEdge;
  readonly #runId: string;
  readonly #traceparent: string;
  readonly #laneKey: Uint8Array;
  readonly #pool: ConnectionPool;
  readonly #work = new Signal();
  readonly #cut = new AbortController();
  #connection: Connection | undefined;
  #queue: Outgoing[] = [];
  #heldBytes = 0;
  #written = 0;
  #ceiling = 0;
  #limitItems: number;
  readonly #limitBytes: number;
  #ending = false;
  #aborted = false;
  #outcome: LanemeshError | undefined;
  #accepted = false;
  #over: Promise<void> | undefined;
  #answered = new Signal();
  #isOver = false;
  #endSent = false;

  constructor(edge: WireEdge, place: Place, pool: ConnectionPool) {
    this.edgeId = edge.id;
    this.#edge = edge;
    this.#runId = place.runId;
    this.#traceparent = place.traceparent;
    this.#laneKey = laneKeyOf(place);
    this.#pool = pool;
    this.#limitItems = Math.max(1, Number(edge.limitItems));
    this.#limitBytes = Number(edge.limitBytes);
  }

  async open(): Promise<void> {
    if (this.#aborted) return;
    this.#dial();
    const answered = this.#accepted || this.#isOver ? Promise.resolve() : this.#answered.wait();
    if (!(await within(answered, OPEN_MS))) {
      const why = `the consumer did not accept it within ${OPEN_MS / 1000} s`;
      this.#break(this.#lost(Code.DeadlineExceeded, why));
      this.#cut.abort();
    }
    if (this.fault !== undefined) throw this.fault;
  }

  get full(): boolean {
    return this.sent >= this.#ceiling || this.#heldBytes >= this.#limitBytes;
  }

  offer(outgoing: Outgoing): boolean {
    if (this.stopped || this.full) return false;
    this.sent += 1;
    this.#heldBytes += outgoing.size;
    this.#queue.push(outgoing);
    this.#work.fire();
    return true;
  }

  end(fault?: LanemeshError): void {
    if (this.#ending) return;
    this.#ending = true;
    this.#outcome = fault;
    this.#work.fire();
  }

  async closed(): Promise<void> {
    await this.#over;
  }

  async abort(fault: LanemeshError): Promise<void> {
    this.#aborted = true;
    if (this.#queue.length > 0) this.#outcome = fault; // the items dropped here were part of the lane
    this.#drop();
    this.end(fault);
    this.#stop();
    if (this.#over === undefined) return;
    if (!(await within(this.#over, ABORT_MS))) this.#cut.abort();
    await this.#over;
  }

  counts() {
    const taken = Math.max(0, this.#ceiling - this.#limitItems);
    const ended = this.#ending || this.stopped;
    const [limitItems, limitBytes] = [this.#limitItems, this.#limitBytes];
    return { taken, limitItems, heldBytes: this.#heldBytes, limitBytes, ended };
  }

  #dial(): void {
    let client: ReturnType<typeof createClient<typeof NodeService>>;
    try {
      this.#connection = this.#pool.acquire(this.#edge.consumerAddress);
      client = createClient(NodeService, this.#connection.transport);
    } catch (error) {
      this.#break(this.#lost(Code.Unavailable, (error as Error).message));
      this.#isOver = true;
      return;
    }
    const responses = client.exchange(this.#frames(), { signal: this.#cut.signal });
    this.#over = this.#read(responses);
  }

  /** The frames of the lane. Each is made when HTTP/2 flow control has let the previous one go. */
  async *#frames(): AsyncGenerator<ExchangeRequest, void> {
    const { id, incarnation, laneType } = this.#edge;
    const traceparent = this.#traceparent;
    const open = {
      runId: this.#runId,
      edgeId: id,
      laneType,
      protocolVersion: PROTOCOL_VERSION,
      incarnation,
      traceparent,
      ...laneKeyField(this.#laneKey),
    };
    yield request({ case: "open", value: open });
    while (true) {
      if (this.#queue.length > 0) yield* this.#items();
      else if (this.#ending || this.#isOver) break;
      else if (!(await this.#work.waitAtMost(HEARTBEAT_MS))) yield request({ case: undefined });
    }
    const outcome = this.#outcome === undefined ? {} : { outcome: toFault(this.#outcome) };
    this.#endSent = true;
    yield request({ case: "end", value: { itemCount: BigInt(this.#written), ...outcome } });
  }

  /** The frames of the next items: chunks of large media first. */
  async *#items(): AsyncGenerator<ExchangeRequest, void> {
    const [first] = this.#queue as [Outgoing];
    const content = first.payload === undefined ? undefined : payloadBytes(first.payload);
    if (content !== undefined && content.length > CHUNK_BYTES) {
      const last = Math.floor((content.length - 1) / CHUNK_BYTES) * CHUNK_BYTES;
      for (let start = 0; start < last; start += CHUNK_BYTES) {
        yield request({ case: "chunk", value: { content: content.subarray(start, start + CHUNK_BYTES) } });
        if (this.#queue[0] !== first) return; // stopped meanwhile
      }
      if (first.payload !== undefined) first.payload = withBytes(first.payload, content.subarray(last));
    }
    const most = Math.min(MAX_FRAME_ITEMS, Math.max(1, Math.floor(this.#limitItems / 2)));
    let [count, bytes] = [0, 0];
    const taken: Outgoing[] = [];
    for (const outgoing of this.#queue) {
      if (count >= most || (count > 0 && bytes + outgoing.size > MAX_FRAME_BYTES - 4096)) break;
      if (count > 0 && isLarge(outgoing)) break;
      taken.push(outgoing);
      bytes += outgoing.size;
      count += 1;
    }
    this.#queue = count === this.#queue.length ? [] : this.#queue.slice(count);
    this.#written += count;
    yield plainTexts(taken) ?? request({ case: "items", value: { items: taken.map(toItem) } });
    this.#heldBytes = Math.max(0, this.#heldBytes - bytes);
    this.freed.fire();
  }

  async #read(responses: AsyncIterable<ExchangeResponse>): Promise<void> {
    try {
      for await (const response of responses) this.#onFrame(response);
      if (!this.#endSent) this.#break(this.#lost(Code.Internal, "the consumer has ended it early"));
    } catch (error) {
      const failure = fromCall(error, this.#edge.consumerAddress);
      const why = failure.reason === "call-failed" ? ConnectError.from(error).rawMessage : failure.message;
      this.#break(this.#lost(failure.code, why));
    } finally {
      this.#isOver = true;
      this.#stop();
      this.#work.fire();
      this.#answered.fire();
      if (this.#connection !== undefined) this.#pool.release(this.#connection);
    }
  }

  #onFrame({ frame }: ExchangeResponse): void {
    switch (frame.case) {
      case "accepted":
        this.#accepted = true;
        if (!this.stopped) {
          this.#limitItems = Math.max(1, Number(frame.value.limitItems));
          this.#ceiling = this.#limitItems;
          this.freed.fire();
        }
        this.#answered.fire();
        break;
      case "credit":
        if (this.stopped) break;
        this.#limitItems = Math.max(this.#limitItems, Number(frame.value.limitItems));
        this.#ceiling = Number(frame.value.takenItems) + this.#limitItems;
        this.freed.fire();
        break;
      case "stop":
        if (frame.value.fault !== undefined && this.fault === undefined && !this.#aborted) {
          this.fault = fromFault(frame.value.fault).with({ details: { lane: this.edgeId }, secondary: true });
        }
        this.#drop();
        this.end();
        this.#stop();
        break;
    }
  }

  #break(fault: LanemeshError): void {
    if (this.fault === undefined && !this.#aborted) this.fault = fault;
    this.#ending = true;
    this.#drop();
    this.#stop();
    this.#work.fire();
  }

  #stop(): void {
    this.#ceiling = 0;
    this.stopped = true;
    this.freed.fire();
  }

  #drop(): void {
    this.#queue = [];
    this.#heldBytes = 0;
  }

  #lost(code: Code, why: string): LanemeshError {
    const isConnection = [Code.Unknown, Code.Internal, Code.Canceled, Code.Aborted].includes(code);
    const what = this.#accepted ? "broke" : "could not be opened";
    return new LanemeshError({
      code: isConnection ? Code.Unavailable : code,
      reason: this.#accepted ? "lane-broken" : "lane-refused",
      message: `the lane ${this.edgeId} to ${this.#edge.consumerAddress} ${what}: ${why || "the connection is gone"}`,
      details: { lane: this.edgeId, address: this.#edge.consumerAddress },
      secondary: true,
    });
  }
}

function isLarge(outgoing: Outgoing): boolean {
  return outgoing.payload !== undefined && (payloadBytes(outgoing.payload)?.length ?? 0) > CHUNK_BYTES;
}

function toItem(outgoing: Outgoing) {
  const payload = outgoing.payload === undefined ? {} : { payload: outgoing.payload };
  return outgoing.envelope === undefined ? payload : { ...encodeEnvelope(outgoing.envelope), ...payload };
}

function request(frame: MessageInitShape<typeof ExchangeRequestSchema>["frame"]): ExchangeRequest {
  return create(ExchangeRequestSchema, { frame });
}
