/** The inputs and outputs of a node: what `run` reads from and emits into, and what firings use. */

import { create } from "@bufbuild/protobuf";
import { decodeItem, encodeValue, ITEM_OVERHEAD_BYTES, type LaneItem } from "../codec.js";
import { Code, LanemeshError, refused } from "../errors.js";
import { ItemSchema } from "../gen/lanemesh/v1/lane_pb.js";
import type { Inbox } from "../lanes/inbox.js";
import { type LaneSender, MemorySender, type Outgoing } from "../lanes/sender.js";
import { Signal } from "../signal.js";
import type { Envelope, LaneType } from "../values.js";
import type { InputValue, PortValue } from "./define.js";
import { Reading } from "./reading.js";
import type { Waits } from "./waits.js";

/** An item of an input, with its group and metadata. */
export interface InputItem<K, V> {
  readonly port: K;
  readonly value: V;
  readonly envelope: Envelope;
}

/**
 * The inputs of `run`: `inputs.port("text")` reads one of them, `inputs.any()` all in the order of arrival.
 *
 * Each reading ends when the inputs have ended and no item waits. If a producer has failed, it throws that error after the last
 * item.
 */
export class Inputs<I> {
  readonly #inbox: Inbox;
  readonly #waits: Waits;

  constructor(inbox: Inbox, waits: Waits) {
    this.#inbox = inbox;
    this.#waits = waits;
  }

  /** The values of one input. */
  port<K extends keyof I & string>(name: K): AsyncIterableIterator<InputValue<I[K]>, void> {
    return new Reading(this.#inbox, this.#waits, [name], (_, item) => item.value as InputValue<I[K]>);
  }

  /** The items of these inputs, or of all, in the order of arrival. */
  any<K extends keyof I & string>(
    ...names: K[]
  ): AsyncIterableIterator<{ [N in K]: InputItem<N, InputValue<I[N]>> }[K], void> {
    const chosen = names.length > 0 ? names : [...this.#inbox.ports.keys()];
    return new Reading(this.#inbox, this.#waits, chosen, (port, { value, envelope = {} }) => {
      return { port, value, envelope } as { [N in K]: InputItem<N, InputValue<I[N]>> }[K];
    });
  }
}

/** One output and its lanes. */
export interface OutputLanes {
  lane: LaneType;
  senders: LaneSender[];
}

/** The outputs of a node. */
export class Outputs<O = Record<string, LaneType>> {
  /** Aborts the body when no lane takes items any more. Set by the actor. */
  onClosed: (fault: LanemeshError | undefined) => void = () => {};
  readonly #component: string;
  readonly #ports: ReadonlyMap<string, OutputLanes>;
  readonly #waits: Waits;
  readonly #ended = new Set<string>();
  #refusedOnce = false;
  /** Why emitting ends early: the cancellation of the node. */
  interruption: LanemeshError | undefined;
  readonly #interrupted = new Signal();

  constructor(component: string, ports: ReadonlyMap<string, OutputLanes>, waits: Waits) {
    this.#component = component;
    this.#ports = ports;
    this.#waits = waits;
  }

  /**
   * Sends a value to every lane of an output, and waits until each has capacity for it.
   *
   * @returns false once no lane of the output takes items any more, or if it has none.
   *
   * Throws LanemeshError if a lane cannot carry the value, a consumer failed, or the output has ended.
   */
  emit<K extends keyof O & string>(port: K, value: PortValue<O, K>, envelope?: Envelope): Promise<boolean> {
    return this.send(port, value, envelope);
  }

  /** Ends the lanes of one output. Nothing can be emitted by it afterwards. */
  complete(port: keyof O & string): void {
    const out = this.#port(port);
    this.#ended.add(port);
    for (const sender of out.senders) sender.end();
  }

  /** `emit` of a value whose type is known at run time; undefined: an item that carries only an envelope. */
  async send(port: string, value: unknown, envelope: Envelope | undefined): Promise<boolean> {
    if (this.interruption !== undefined) throw this.interruption;
    const out = this.#port(port);
    if (this.#ended.has(port)) {
      throw refused("port-completed", `${this.#component}.${port} has ended; nothing can be emitted by it`);
    }
    let full = out.senders;
    if (full.length > 0) {
      const outgoing = this.#outgoing(port, out, value, envelope);
      full = full.filter((sender) => !sender.stopped && !sender.offer(outgoing));
      while (full.length > 0) full = await this.#asCapacityAllows(full, outgoing);
    }
    const open = out.senders.some((sender) => !sender.stopped);
    if (!open && out.senders.length > 0) this.#unwanted(port, out);
    return open;
  }

  /** The names of the connected outputs. */
  get connected(): string[] {
    return [...this.#ports].flatMap(([name, out]) => (out.senders.length > 0 ? [name] : []));
  }

  /** All lanes. */
  get senders(): LaneSender[] {
    return [...this.#ports.values()].flatMap((out) => out.senders);
  }

  /** There are lanes that the node has not ended itself, and none takes items any more. */
  get closed(): boolean {
    const open = [...this.#ports].flatMap(([name, out]) => (this.#ended.has(name) ? [] : out.senders));
    return open.length > 0 && open.every((sender) => sender.stopped);
  }

  /** The fault of the consumer or the connection that stopped a lane. */
  get fault(): LanemeshError | undefined {
    return this.senders.find((sender) => sender.fault !== undefined)?.fault?.with({ secondary: true });
  }

  /** Ends every open output. */
  end(fault?: LanemeshError): void {
    for (const [name, out] of this.#ports) {
      if (this.#ended.has(name)) continue;
      this.#ended.add(name);
      for (const sender of out.senders) sender.end(fault);
    }
  }

  /** Ends all waits for capacity with an error. */
  interrupt(why: LanemeshError): void {
    this.interruption ??= why;
    this.#interrupted.fire();
  }

  #port(port: string): OutputLanes {
    const out = this.#ports.get(port);
    if (out !== undefined) return out;
    const known = [...this.#ports.keys()].join(", ") || "none";
    const message = `${this.#component} has no output "${port}"; it has ${known}`;
    throw new LanemeshError({ code: Code.NotFound, reason: "unknown-port", message });
  }

  #outgoing(port: string, out: OutputLanes, value: unknown, envelope: Envelope | undefined): Outgoing {
    if (value === undefined && envelope !== undefined) {
      const item: LaneItem = { size: ITEM_OVERHEAD_BYTES, envelope };
      return { payload: undefined, item, size: ITEM_OVERHEAD_BYTES, envelope };
    }
    const { payload, size } = encodeValue(out.lane, value, `${this.#component}.${port}`);
    const item: LaneItem = { value, size, ...(envelope !== undefined && { envelope }) };
    if (out.lane !== "text" && out.senders.some((sender) => sender instanceof MemorySender)) {
      item.value = decodeItem(out.lane, create(ItemSchema, { payload })).value; // the author may change the own object
    }
    return { payload, item, size, envelope };
  }

  /** Waits until one of the full lanes has capacity, and sends there. Returns those that are still full. */
  async #asCapacityAllows(full: LaneSender[], outgoing: Outgoing): Promise<LaneSender[]> {
    const freed = new Promise<void>((resolve) => {
      const signals = [...full.map((sender) => sender.freed), this.#interrupted];
      const wake = () => {
        for (const signal of signals) signal.forget(wake);
        resolve();
      };
      for (const signal of signals) signal.once(wake);
    });
    await this.#waits.during({ fullEdges: full.map((sender) => sender.edgeId) }, freed);
    if (this.interruption !== undefined) throw this.interruption;
    const broken = full.find((sender) => sender.stopped && sender.fault !== undefined);
    if (broken?.fault !== undefined) throw broken.fault.with({ secondary: true });
    return full.filter((sender) => !sender.stopped && !sender.offer(outgoing));
  }

  /** Ends a body that continues to emit after the return value false. */
  #unwanted(port: string, out: OutputLanes): void {
    const fault = out.senders.find((sender) => sender.fault !== undefined)?.fault;
    if (fault !== undefined) throw fault.with({ secondary: true });
    if (!this.closed) return;
    if (this.#refusedOnce) {
      const message = `every lane of ${this.#component} was stopped; ${port} takes no more items`;
      throw new LanemeshError({ code: Code.Canceled, reason: "cancelled", message, secondary: true });
    }
    this.#refusedOnce = true;
    this.onClosed(undefined);
  }
}
