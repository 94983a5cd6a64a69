/** What the firings of one component take from its inputs. */

import { Code, LanemeshError } from "../errors.js";
import type { Inbox, Port } from "../lanes/inbox.js";
import type { Group } from "../values.js";
import type { NodeType } from "./define.js";
import { type FiringPolicy, OnAny, ZipAll } from "./policies.js";
import type { FiringRules } from "./rules.js";
import type { Wait, Waits } from "./waits.js";

/** A collecting input gets at most so many items, and so many bytes. */
const MAX_LIST_ITEMS = 100_000;
const MAX_LIST_BYTES = 64 * 1024 * 1024;

/** The items that a firing has taken. */
export interface TakenItems {
  values: Record<string, unknown>;
  /** The group of the only item that has one. */
  group: Group | undefined;
}

/** Why there is no further firing: a component may have been skipped, and items may be left over. */
export interface FiringsEnd {
  skipped: boolean;
  detail: string;
}

/** What follows: a firing, an item that only ends a group, a wait for the inputs to change, or no further firing. */
export type Step = { fire: TakenItems } | { groupEnd: Group | undefined } | { wait: Wait } | { done: FiringsEnd };

/** The inputs of one component, by its firing policy. */
export class FiringInputs {
  readonly #latest: Record<string, unknown> = {};
  readonly #connected: string[];
  readonly #ports: ReadonlyMap<string, Port>;
  readonly #policy: FiringPolicy;
  readonly #lockstep: boolean;

  constructor(
    private readonly type: NodeType,
    private readonly inbox: Inbox,
    private readonly waits: Waits,
    rules: FiringRules,
  ) {
    const singles = [...type.inputs.values()].filter((port) => !port.list).map((port) => port.name);
    this.#connected = singles.filter((name) => inbox.port(name).edges.length > 0);
    this.#ports = new Map(this.#connected.map((name) => [name, inbox.port(name)]));
    this.#lockstep = rules.syncMode === "zip_all";
    const reused = new Set(this.#connected.filter((name) => rules.singleInputs.has(name)));
    const required = this.#connected.filter((name) => type.inputs.get(name)?.required);
    this.#policy = this.#lockstep ? new ZipAll(reused, new Set(this.#connected)) : new OnAny(new Set(required));
  }

  /** Collects the items of all lists, which are complete at the end of their inputs. `check` throws when the node is cancelled. */
  async collectLists(check: () => void): Promise<void> {
    const lists = [...this.type.inputs.values()].filter((port) => port.list).map((port) => port.name);
    let [items, bytes] = [0, 0];
    for (const name of lists) this.#latest[name] = [];
    const ports = lists.map((name) => this.inbox.port(name));
    while (ports.some((port) => !port.ended || port.fault !== undefined)) {
      check();
      const port = ports.find((one) => one.head !== undefined);
      if (port !== undefined) {
        const item = port.take();
        if ("value" in item) (this.#latest[port.name] as unknown[]).push(item.value);
        items += 1;
        bytes += item.size;
        if (items > MAX_LIST_ITEMS || bytes > MAX_LIST_BYTES) throw tooLong(items, bytes);
        continue;
      }
      const fault = ports.find((one) => one.fault !== undefined)?.fault;
      if (fault !== undefined) throw fault;
      await this.waits.during({ anyInputs: lists }, this.inbox.changed.wait());
    }
  }

  /** What a component does none of whose inputs, lists aside, is connected: it fires once, or is skipped. Undefined: one is. */
  withoutConnection(): { fire: TakenItems } | { done: FiringsEnd } | undefined {
    if (this.#connected.length > 0) return undefined;
    const missing = [...this.type.inputs.values()].find((port) => !port.list && port.required);
    if (missing === undefined) return { fire: { values: { ...this.#latest }, group: undefined } };
    return { done: { skipped: true, detail: `the input "${missing.name}" is not connected` } };
  }

  /** The next step; the items of a firing are taken. Throws the fault of a producer, once all items before it were taken. */
  next(): Step {
    for (const port of this.#ports.values()) {
      if (port.peekValueless()) return { groupEnd: port.take().envelope?.group };
    }
    const decision = this.#policy.decide(this.#ports);
    if (decision !== "wait" && "take" in decision) return { fire: this.#take(decision.take) };
    for (const { fault } of this.#ports.values()) if (fault !== undefined) throw fault;
    if (decision !== "wait") return { done: this.#end(decision.skippedFor) };
    return { wait: this.#lockstep ? { allInputs: this.#missing() } : { anyInputs: this.#connected } };
  }

  #take(names: string[]): TakenItems {
    const groups: Group[] = [];
    for (const name of names) {
      const item = this.inbox.port(name).take();
      this.#latest[name] = item.value;
      if (item.envelope?.group !== undefined) groups.push(item.envelope.group);
    }
    return { values: { ...this.#latest }, group: groups.length === 1 ? groups[0] : undefined };
  }

  #missing(): string[] {
    return [...this.#ports].filter(([, port]) => port.head === undefined).map(([name]) => name);
  }

  #end(skippedFor: string | undefined): FiringsEnd {
    const counts = [...this.#ports]
      .filter(([, port]) => port.waiting > 0)
      .map(([name, port]) => `${port.waiting} on ${name}`);
    const left = counts.join(", ");
    if (skippedFor === undefined) return { skipped: false, detail: left ? `left over: ${left}` : "" };
    const waited = left ? `; items that waited: ${left}` : "";
    return { skipped: true, detail: `the required input "${skippedFor}" ended without an item${waited}` };
  }
}

function tooLong(items: number, bytes: number): LanemeshError {
  const limits = `${MAX_LIST_ITEMS} items or ${MAX_LIST_BYTES} bytes`;
  const message = `a list has ${items} items of ${bytes} bytes; the limit is ${limits}`;
  return new LanemeshError({ code: Code.ResourceExhausted, reason: "list-too-long", message });
}
