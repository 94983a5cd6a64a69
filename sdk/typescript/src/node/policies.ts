/** When a node fires, as pure decisions. */

/** The state of an input on which a policy decides. */
export interface PortView {
  /** Number of the first waiting item; undefined if none waits. */
  readonly head: number | undefined;
  /** Every edge has ended and no item waits. */
  readonly ended: boolean;
}

/** The next step: take one item of each of these inputs and fire, or wait for a change, or fire no more. */
export type Decision = { take: string[] } | "wait" | { done: true; skippedFor?: string };

/** Decides on the next step from the waiting items. A returned `take` counts as executed. */
export interface FiringPolicy {
  decide(ports: ReadonlyMap<string, PortView>): Decision;
}

/** Fires on every item, with the latest taken value of each other input, once every required input has had an item. */
export class OnAny implements FiringPolicy {
  #begun = false;

  constructor(private readonly required: ReadonlySet<string>) {}

  decide(ports: ReadonlyMap<string, PortView>): Decision {
    if (!this.#begun) return this.#first(ports);
    let [oldest, oldestHead] = ["", Number.POSITIVE_INFINITY];
    for (const [name, { head }] of ports) {
      if (head !== undefined && head < oldestHead) [oldest, oldestHead] = [name, head];
    }
    if (oldest !== "") return { take: [oldest] };
    return allEnded(ports) ? { done: true } : "wait";
  }

  #first(ports: ReadonlyMap<string, PortView>): Decision {
    const heads = [...ports].flatMap(([name, { head }]) => (head === undefined ? [] : [{ name, head }]));
    for (const name of [...this.required].sort()) {
      if (ports.get(name)?.ended) return { done: true, skippedFor: name };
    }
    const firsts = heads.filter(({ name }) => this.required.has(name));
    if (firsts.length < this.required.size) return "wait";
    if (heads.length === 0) return allEnded(ports) ? { done: true } : "wait";
    // When the last required input got its first item; with none required, the first item of any.
    const moment =
      firsts.length > 0 ? Math.max(...firsts.map(({ head }) => head)) : Math.min(...heads.map(({ head }) => head));
    this.#begun = true;
    return { take: heads.filter(({ head }) => head <= moment).map(({ name }) => name) };
  }
}

/** Fires with one item from every connected input, in lockstep. A single-item input gets one item, which is reused. */
export class ZipAll implements FiringPolicy {
  #begun = false;

  constructor(
    private readonly single: ReadonlySet<string>,
    private readonly connected: ReadonlySet<string>,
  ) {}

  decide(ports: ReadonlyMap<string, PortView>): Decision {
    const wanted = [...this.connected].filter((name) => !(this.#begun && this.single.has(name))).sort();
    for (const name of wanted) {
      if (ports.get(name)?.ended) return this.#begun ? { done: true } : { done: true, skippedFor: name };
    }
    if (this.#begun && wanted.length === 0) return { done: true }; // all inputs have a single item: they fire once
    if (wanted.some((name) => ports.get(name)?.head === undefined)) return "wait";
    this.#begun = true;
    return { take: wanted };
  }
}

function allEnded(ports: ReadonlyMap<string, PortView>): boolean {
  for (const port of ports.values()) if (!port.ended) return false;
  return true;
}
