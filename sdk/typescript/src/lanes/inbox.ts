/** The consumer side of a node: its inputs, each fed by the lanes of any number of edges. */

import type { LaneItem } from "../codec.js";
import { Code, LanemeshError } from "../errors.js";
import { Signal } from "../signal.js";
import type { LaneType } from "../values.js";
import { Assembler } from "./assembler.js";
import { GroupOrder } from "./group-order.js";

/** The consumer end of one lane: counts arrived and taken items, and limits how many may wait. */
export class Edge {
  arrived = 0;
  taken = 0;
  discarded = 0;
  bufferedBytes = 0;
  /** The producer has ended it. */
  ended = false;
  /** The producer's fault, if it ended with one. */
  fault: LanemeshError | undefined;
  /** The node takes no more items. */
  stopped = false;
  stopReason = "";
  stopFault: LanemeshError | undefined;
  /** Fires when items were taken (see `wakeAt`), when the limits have grown, and when it was stopped or ended. */
  readonly changed = new Signal();
  /** `changed` fires for takes once so many items were taken in all: who waits for fewer news sets it. */
  wakeAt = 0;

  constructor(
    readonly id: string,
    readonly port: Port,
    readonly lane: LaneType,
    public limitItems: number,
    public limitBytes: number,
  ) {}

  /** Items that wait, also those that are parked. */
  get bufferedItems(): number {
    return this.arrived - this.taken - this.discarded;
  }

  /** Its limit in items or bytes is reached. */
  get full(): boolean {
    return this.bufferedItems >= this.limitItems || this.bufferedBytes >= this.limitBytes;
  }

  /** Adds an item. One that arrives after a stop is discarded and counted. */
  put(item: LaneItem): void {
    this.arrived += 1;
    if (this.stopped) {
      this.discarded += 1;
      return;
    }
    this.bufferedBytes += item.size;
    this.port.put(this, item);
  }

  /** The node has taken an item. */
  took(size: number): void {
    this.taken += 1;
    this.bufferedBytes -= size;
    if (this.taken >= this.wakeAt) this.changed.fire();
  }

  /** The producer has ended it, cleanly or with a fault. Only the first end counts. */
  end(fault?: LanemeshError): void {
    if (this.ended) return;
    this.ended = true;
    this.fault = fault;
    this.port.edgeEnded(this);
    this.changed.fire();
  }

  /** The node takes no more: waiting items are discarded and counted, and the producer is notified. Acts once. */
  stop(reason: string, fault?: LanemeshError): void {
    if (this.stopped) return;
    this.stopped = true;
    this.stopReason = reason;
    this.stopFault = fault;
    this.discarded += this.bufferedItems;
    this.bufferedBytes = 0;
    this.port.edgeStopped(this);
    this.changed.fire();
  }

  /** Raises the limits; they are never lowered. */
  grow(limitItems: number, limitBytes: number): void {
    this.limitItems = Math.max(this.limitItems, limitItems);
    this.limitBytes = Math.max(this.limitBytes, limitBytes);
    this.changed.fire();
  }
}

interface Entry {
  /** Its number among all arrivals of the node. */
  number: number;
  edge: Edge;
  item: LaneItem;
  /** What its edge has counted; 0 if it was taken before, as the pieces of a whole are. */
  size: number;
  counted: boolean;
}

/** One input. */
export class Port {
  readonly edges: Edge[] = [];
  /** Wholes that were dropped, because their producers failed or were cancelled. */
  droppedWholes = 0;
  #entries: Entry[] = [];
  #head = 0;
  #order: GroupOrder<Entry> | undefined;
  #assembler: Assembler | undefined;
  #fault: LanemeshError | undefined;

  constructor(
    readonly name: string,
    private readonly inbox: Inbox,
  ) {}

  /** The pieces of each group become one whole. */
  assemble(lane: LaneType): void {
    this.#assembler = new Assembler(lane);
  }

  /** The groups are passed one after the other. */
  serializeGroups(): void {
    this.#order ??= new GroupOrder();
  }

  /** The number of the first waiting item; undefined if none waits. */
  get head(): number | undefined {
    return this.#entries[this.#head]?.number;
  }

  /** The number of waiting items. */
  get waiting(): number {
    return this.#entries.length - this.#head;
  }

  /** Every edge has ended or was stopped, and no item waits. */
  get ended(): boolean {
    return this.head === undefined && this.edges.every((edge) => edge.ended || edge.stopped);
  }

  /** The fault of a producer, once all items before it were taken. */
  get fault(): LanemeshError | undefined {
    if (this.head !== undefined) return undefined;
    return this.#fault ?? (this.ended ? this.edges.find((edge) => edge.fault !== undefined)?.fault : undefined);
  }

  /** The first waiting item carries only an envelope. */
  peekValueless(): boolean {
    const entry = this.#entries[this.#head];
    return entry !== undefined && !("value" in entry.item);
  }

  /** Takes the first waiting item. The caller has checked that there is one. */
  take(): LaneItem {
    const entry = this.#entries[this.#head] as Entry;
    this.#entries[this.#head] = undefined as unknown as Entry;
    this.#head += 1;
    if (this.#head > 256 && this.#head * 2 > this.#entries.length) {
      this.#entries = this.#entries.slice(this.#head);
      this.#head = 0;
    }
    if (entry.counted) entry.edge.took(entry.size);
    return entry.item;
  }

  put(edge: Edge, item: LaneItem): void {
    const entry = { number: this.inbox.nextNumber(), edge, item, size: item.size, counted: true };
    if (this.#order === undefined) this.#arrive(entry);
    else for (const next of this.#order.put(edge.id, item.envelope?.group, entry)) this.#arrive(next);
  }

  edgeEnded(edge: Edge): void {
    for (const entry of this.#order?.end(edge.id) ?? []) this.#arrive(entry);
    for (const item of this.#assembler?.end(edge.id, edge.fault === undefined) ?? []) {
      this.#entries.push({ number: this.inbox.nextNumber(), edge, item, size: 0, counted: false });
    }
    this.droppedWholes += this.#assembler?.takeDropped() ?? 0;
    this.inbox.changed.fire();
  }

  edgeStopped(edge: Edge): void {
    for (const entry of this.#order?.drop(edge.id) ?? []) this.#arrive(entry);
    this.#assembler?.end(edge.id, false);
    this.#entries = this.#entries.slice(this.#head).filter((entry) => entry.edge !== edge);
    this.#head = 0;
    this.inbox.changed.fire();
  }

  #arrive(entry: Entry): void {
    if (this.#assembler === undefined) {
      this.#entries.push(entry);
    } else {
      let whole: LaneItem | undefined;
      try {
        whole = this.#assembler.put(entry.edge.id, entry.item);
      } catch (error) {
        this.#fault = error as LanemeshError;
        for (const edge of this.edges) edge.stop(this.#fault.message, this.#fault.with({ secondary: true }));
        return;
      }
      this.droppedWholes += this.#assembler.takeDropped();
      const isPiece = entry.item.envelope?.group !== undefined;
      if (isPiece) entry.edge.took(entry.size);
      if (whole === undefined) return;
      this.#entries.push({ ...entry, item: whole, counted: !isPiece });
    }
    this.inbox.changed.fire();
  }
}

/** All inputs of a node. */
export class Inbox {
  readonly ports = new Map<string, Port>();
  /** Fires when an item has arrived at any input, or an input may have ended. */
  readonly changed = new Signal();
  /** Why its reading ends early; undefined as long as it does not. */
  interruption: LanemeshError | undefined;
  #arrivals = 0;

  constructor(names: Iterable<string>) {
    for (const name of names) this.ports.set(name, new Port(name, this));
  }

  /** An input. Throws LanemeshError if there is none of this name. */
  port(name: string): Port {
    const port = this.ports.get(name);
    if (port !== undefined) return port;
    const known = [...this.ports.keys()].join(", ") || "none";
    const message = `there is no input "${name}"; there is ${known}`;
    throw new LanemeshError({ code: Code.NotFound, reason: "unknown-port", message });
  }

  /** Adds an edge into an input. */
  addEdge(id: string, port: string, lane: LaneType, limitItems: number, limitBytes: number): Edge {
    const target = this.port(port);
    const edge = new Edge(id, target, lane, Math.max(1, limitItems), Math.max(1, limitBytes));
    target.edges.push(edge);
    return edge;
  }

  /** Every edge of every input. */
  *edges(): Generator<Edge> {
    for (const port of this.ports.values()) yield* port.edges;
  }

  /** Stops all edges. */
  stop(reason: string, fault?: LanemeshError): void {
    for (const edge of this.edges()) edge.stop(reason, fault);
  }

  /** Ends the reading with an error: of a cancellation, or because no consumer takes what the node would emit. */
  interrupt(why: LanemeshError): void {
    this.interruption ??= why;
    this.changed.fire();
  }

  nextNumber(): number {
    this.#arrivals += 1;
    return this.#arrivals;
  }
}
