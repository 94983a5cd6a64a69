/** The consumer end of a lane over gRPC: reads while its edge has capacity, and grants credit for items that the node takes. */

import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { decodeItem, type LaneItem, MAX_MEDIA_BYTES, payloadBytes, withBytes } from "../codec.js";
import { Code, fromFault, LanemeshError, toConnectError, toFault } from "../errors.js";
import {
  type ExchangeRequest,
  type ExchangeResponse,
  ExchangeResponseSchema,
  type LaneEnd,
  type LaneItems,
} from "../gen/lanemesh/v1/lane_pb.js";
import { Signal, sleep, within } from "../signal.js";
import type { Edge } from "./inbox.js";
import { itemsOf, readItems, readPlainTexts } from "./plain-texts.js";
import { HEARTBEAT_MS } from "./sender.js";

/** After an end of file without `end`, so long a report of a broken call is awaited, in milliseconds. */
const BREAK_GRACE_MS = 500;
/** So long credit under half a window is withheld from a producer that has none left. */
const PATIENCE_MS = 2;
/** So long a producer that broke the protocol may go on before the call ends. */
const DISCARD_MS = 5_000;

/** Why the wait for a change has ended. */
type Woken = "changed" | "patience" | "idle";

class Violation extends Error {}

/** Serves one accepted `Exchange` call, into one edge. It never ends the call before the producer has half-closed. */
export class LaneReceiver {
  readonly #edge: Edge;
  readonly #signal: AbortSignal;
  readonly #cancelling: () => boolean;
  readonly #base: number;
  readonly #work = new Signal();
  #received = 0;
  #chunks: Uint8Array[] = [];
  #chunkBytes = 0;
  #halfClosed = false;
  #refusal: LanemeshError | undefined;
  #reportedTaken: number;
  #reportedLimit: number;
  #stopSent = false;

  constructor(edge: Edge, signal: AbortSignal, cancelling: () => boolean) {
    this.#edge = edge;
    this.#signal = signal;
    this.#cancelling = cancelling;
    this.#base = edge.taken;
    this.#reportedTaken = edge.taken;
    this.#reportedLimit = edge.limitItems;
  }

  /** The frames for the producer, until every item was taken or discarded. `first` are the items that came with `open`. */
  async *serve(
    frames: AsyncIterator<ExchangeRequest>,
    first: LaneItems | undefined,
  ): AsyncGenerator<ExchangeResponse, void> {
    const reading = this.#read(frames, first);
    const onAbort = () => {
      this.#edge.end(this.#lost(Code.Unavailable, "the connection is gone"));
      this.#work.fire();
    };
    this.#signal.addEventListener("abort", onAbort);
    try {
      yield frame({ case: "accepted", value: { limitItems: BigInt(this.#reportedLimit) } });
      let woken = "changed" as Woken;
      while (!this.#signal.aborted) {
        const next = this.#next(woken === "patience");
        if (next !== undefined) yield next;
        else if (this.#refusal !== undefined) break;
        else if (this.#halfClosed && this.#edge.bufferedItems <= 0 && (this.#edge.ended || this.#stopSent)) break;
        else if (woken === "idle") yield frame({ case: undefined });
        woken = next === undefined && woken !== "idle" ? await this.#wait() : "changed";
      }
      if (this.#refusal !== undefined) {
        await within(reading, DISCARD_MS);
        throw toConnectError(this.#refusal);
      }
      await reading;
    } finally {
      this.#signal.removeEventListener("abort", onAbort);
      this.#edge.end(this.#lost(Code.Unavailable, "the connection is gone"));
      this.#halfClosed = true;
      this.#edge.changed.fire();
    }
  }

  /** The next frame for the producer; undefined if there is none now. `waited`: starved credit is due. */
  #next(waited: boolean): ExchangeResponse | undefined {
    const edge = this.#edge;
    if (this.#stopSent) return undefined;
    if (this.#refusal !== undefined) {
      this.#stopSent = true;
      const fault = toFault(this.#refusal);
      return frame({ case: "stop", value: { reason: this.#refusal.message, fault } });
    }
    if (edge.stopped && !edge.ended) {
      this.#stopSent = true;
      const fault = edge.stopFault === undefined ? {} : { fault: toFault(edge.stopFault) };
      return frame({ case: "stop", value: { reason: edge.stopReason, ...fault } });
    }
    if (edge.ended || edge.stopped) return undefined;
    const owed = edge.taken - this.#reportedTaken;
    const half = Math.max(1, Math.floor(edge.limitItems / 2));
    const due = owed >= half || edge.limitItems > this.#reportedLimit || (waited && this.#isStarved());
    if (!due) return undefined;
    this.#reportedTaken = edge.taken;
    this.#reportedLimit = edge.limitItems;
    const taken = BigInt(edge.taken - this.#base);
    const value = { takenItems: taken, acknowledgedItems: taken, limitItems: BigInt(edge.limitItems) };
    return frame({ case: "credit", value });
  }

  /** The producer is out of credit, and there is credit to grant. */
  #isStarved(): boolean {
    const edge = this.#edge;
    return edge.taken > this.#reportedTaken && edge.arrived - this.#reportedTaken >= this.#reportedLimit;
  }

  /** Waits for a change, or until starved credit or a heartbeat is due. */
  #wait(): Promise<Woken> {
    const edge = this.#edge;
    const isStarved = !this.#stopSent && this.#isStarved();
    const isOut = edge.arrived - this.#reportedTaken >= this.#reportedLimit;
    const soon = isOut || this.#halfClosed || edge.bufferedBytes >= edge.limitBytes;
    const half = Math.max(1, Math.floor(edge.limitItems / 2));
    edge.wakeAt = soon ? edge.taken + 1 : this.#reportedTaken + half;
    return new Promise((resolve) => {
      const end = (why: Woken) => {
        clearTimeout(timer);
        this.#edge.changed.forget(wake);
        this.#work.forget(wake);
        resolve(why);
      };
      const wake = () => end("changed");
      const timer = setTimeout(() => end(isStarved ? "patience" : "idle"), isStarved ? PATIENCE_MS : HEARTBEAT_MS);
      this.#edge.changed.once(wake);
      this.#work.once(wake);
    });
  }

  async #read(frames: AsyncIterator<ExchangeRequest>, first: LaneItems | undefined): Promise<void> {
    const edge = this.#edge;
    try {
      if (first !== undefined) this.#takeItems(first);
      while (true) {
        await this.#holdBack();
        const next = await frames.next();
        if (next.done) break;
        this.#take(next.value);
        if (edge.arrived - this.#reportedTaken >= this.#reportedLimit || edge.ended) this.#work.fire();
      }
      if (!edge.ended) {
        await sleep(BREAK_GRACE_MS, this.#signal); // a broken call looks like an end of file at first
        const why = `it was closed without \`end\` after ${this.#received} items`;
        edge.end(this.#lost(Code.DataLoss, why));
      }
    } catch (error) {
      if (this.#signal.aborted) return;
      const why = error instanceof Violation ? error.message : String(error);
      this.#refusal = this.#lost(Code.InvalidArgument, why);
      edge.end(this.#refusal);
      this.#work.fire();
      await this.#discard(frames);
    } finally {
      this.#halfClosed = true;
      this.#work.fire();
    }
  }

  /** Leaves frames in the stream, where HTTP/2 flow control holds the producer, until the node has taken some items. */
  async #holdBack(): Promise<void> {
    const edge = this.#edge;
    while (edge.bufferedBytes >= edge.limitBytes && !edge.stopped && !this.#signal.aborted && !this.#halfClosed) {
      edge.wakeAt = 0;
      await edge.changed.wait();
    }
  }

  async #discard(frames: AsyncIterator<ExchangeRequest>): Promise<void> {
    try {
      while (!(await frames.next()).done);
    } catch {
      // The call has ended.
    }
  }

  #take(request: ExchangeRequest): void {
    const bytes = itemsOf(request);
    if (bytes !== undefined) return this.#takeBytes(bytes);
    const { frame } = request;
    switch (frame.case) {
      case "chunk":
        return this.#takeChunk(frame.value.content);
      case "end":
        return this.#end(frame.value);
      case "open":
        throw new Violation("a second `open` came on it");
    }
  }

  /** Takes the items of a frame, of which short texts are not made into messages. */
  #takeBytes(bytes: Uint8Array): void {
    const isPlain = this.#edge.lane === "text" && this.#chunks.length === 0;
    const texts = isPlain ? readPlainTexts(bytes) : undefined;
    if (texts === undefined) return this.#takeItems(readItems(bytes));
    this.#count(texts.length);
    for (const text of texts) this.#edge.put(text);
  }

  /** Counts items that have arrived, before the node gets one of them. */
  #count(items: number): void {
    const edge = this.#edge;
    if (items > 0 && edge.ended) throw new Violation("items arrived after the end");
    const underWay = edge.bufferedItems + items;
    if (!edge.stopped && underWay > edge.limitItems) {
      throw new Violation(`${underWay} items are in transit; the limit is ${edge.limitItems}`);
    }
    this.#received += items;
  }

  #takeItems(items: LaneItems): void {
    const edge = this.#edge;
    this.#count(items.items.length);
    const whole: LaneItem[] = []; // the node gets none of a frame with a violation
    for (const item of items.items) {
      if (this.#chunks.length > 0 && !edge.stopped) {
        const last = payloadBytes(item.payload);
        if (last === undefined) {
          throw new Violation("chunks arrived before an item that is neither media nor a document with a file");
        }
        item.payload = withBytes(item.payload, this.#joined(last));
      }
      try {
        whole.push(decodeItem(edge.lane, item));
      } catch (error) {
        throw new Violation((error as Error).message);
      }
    }
    for (const item of whole) edge.put(item);
    if (items.end !== undefined) this.#end(items.end);
  }

  #takeChunk(content: Uint8Array): void {
    if (this.#edge.stopped) {
      this.#chunks = [];
      this.#chunkBytes = 0;
      return;
    }
    this.#chunkBytes += content.length;
    if (this.#chunkBytes > MAX_MEDIA_BYTES) {
      throw new Violation(`more than ${MAX_MEDIA_BYTES} bytes of chunks arrived for one item`);
    }
    this.#chunks.push(content);
  }

  #joined(last: Uint8Array): Uint8Array {
    const whole = new Uint8Array(this.#chunkBytes + last.length);
    let at = 0;
    for (const chunk of [...this.#chunks, last]) {
      whole.set(chunk, at);
      at += chunk.length;
    }
    if (whole.length > MAX_MEDIA_BYTES) throw new Violation(`an item has ${whole.length} bytes; the limit is 256 MiB`);
    this.#chunks = [];
    this.#chunkBytes = 0;
    return whole;
  }

  #end(end: LaneEnd): void {
    const edge = this.#edge;
    if (edge.ended) return;
    if (end.outcome !== undefined && end.outcome.code !== 0) {
      return edge.end(fromFault(end.outcome).with({ details: { lane: edge.id }, secondary: true }));
    }
    if (this.#chunks.length > 0 && !edge.stopped)
      throw new Violation("the end arrived after chunks without their item");
    if (end.itemCount !== BigInt(this.#received)) {
      return edge.end(this.#lost(Code.DataLoss, `${this.#received} of ${end.itemCount} items arrived`));
    }
    edge.end();
  }

  #lost(code: Code, why: string): LanemeshError {
    return new LanemeshError({
      code: this.#cancelling() ? Code.Canceled : code,
      reason: "lane-broken",
      message: `the lane ${this.#edge.id} broke: ${why}`,
      details: { lane: this.#edge.id },
      secondary: true,
    });
  }
}

function frame(value: MessageInitShape<typeof ExchangeResponseSchema>["frame"]): ExchangeResponse {
  return create(ExchangeResponseSchema, { frame: value });
}
