/** The reading of a node's inputs by its body. */

import type { LaneItem } from "../codec.js";
import type { Inbox, Port } from "../lanes/inbox.js";
import type { Waits } from "./waits.js";

/**
 * Takes the items of some inputs in the order of their arrival.
 *
 * It is no generator, which would cost several turns of the microtask queue for each item that waits already.
 */
export class Reading<T> implements AsyncIterableIterator<T, void, void> {
  readonly #ports: Port[];
  #ended = false;

  /** `shown` makes what the body gets of an item that has a value. Throws LanemeshError if there is no such input. */
  constructor(
    private readonly inbox: Inbox,
    private readonly waits: Waits,
    private readonly names: string[],
    private readonly shown: (port: string, item: LaneItem) => T,
  ) {
    this.#ports = names.map((name) => inbox.port(name));
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  /** The next item. Throws the error of a producer that failed after its last item, or the cancellation of the node. */
  next(): Promise<IteratorResult<T, void>> {
    try {
      const now = this.#take();
      return now === undefined ? this.#later() : Promise.resolve(now);
    } catch (error) {
      this.#ended = true;
      return Promise.reject(error);
    }
  }

  /** Ends the reading; the inputs stay open. */
  return(): Promise<IteratorResult<T, void>> {
    this.#ended = true;
    return Promise.resolve({ done: true, value: undefined });
  }

  async #later(): Promise<IteratorResult<T, void>> {
    try {
      while (true) {
        await this.waits.during({ anyInputs: this.names }, this.inbox.changed.wait());
        const now = this.#take();
        if (now !== undefined) return now;
      }
    } catch (error) {
      this.#ended = true;
      throw error;
    }
  }

  /** The next item, or the end; undefined if neither has arrived. */
  #take(): IteratorResult<T, void> | undefined {
    if (this.#ended) return { done: true, value: undefined };
    if (this.inbox.interruption !== undefined) throw this.inbox.interruption;
    for (let port = firstOf(this.#ports); port !== undefined; port = firstOf(this.#ports)) {
      const item = port.take();
      if ("value" in item) return { done: false, value: this.shown(port.name, item) };
    }
    const fault = this.#ports.find((port) => port.fault !== undefined)?.fault;
    if (fault !== undefined) throw fault;
    if (!this.#ports.every((port) => port.ended)) return undefined;
    this.#ended = true;
    return { done: true, value: undefined };
  }
}

/** The port with the oldest waiting item; undefined if none waits. */
function firstOf(ports: Port[]): Port | undefined {
  let found: Port | undefined;
  for (const port of ports) {
    if (port.head === undefined) continue;
    if (found?.head === undefined || port.head < found.head) found = port;
  }
  return found;
}
