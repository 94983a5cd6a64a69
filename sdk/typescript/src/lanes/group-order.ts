/** Passes the groups at an input one after the other. Pure. */

import type { Group } from "../values.js";

/** A group, or an item without one, that waits for its turn. */
interface Turn<E> {
  source: string;
  key: string | undefined;
  entries: E[];
  over: boolean;
}

/**
 * While a group is open, entries of other groups and entries without a group are parked. A group is identified by its source,
 * which is the edge, and its id.
 */
export class GroupOrder<E> {
  /** The group that passes now. */
  #current: string | undefined;
  #turns: Turn<E>[] = [];
  readonly #open = new Map<string, Turn<E>>();

  /** Adds an entry. Returns the entries that pass now. */
  put(source: string, group: Group | undefined, entry: E): E[] {
    const key = group === undefined ? undefined : keyOf(source, group.id);
    const over = group === undefined || group.last;
    if (this.#current === undefined) {
      this.#current = over ? undefined : key;
      return [entry];
    }
    if (key === this.#current) return over ? [entry, ...this.#next()] : [entry];
    this.#park(source, key, over, entry);
    return [];
  }

  /** A source has ended, and its groups with it. Returns the entries that pass now. */
  end(source: string): E[] {
    for (const [key, turn] of this.#open) {
      if (turn.source !== source) continue;
      turn.over = true;
      this.#open.delete(key);
    }
    return this.#current?.startsWith(keyOf(source, "")) ? this.#next() : [];
  }

  /** Discards the parked entries of a source, and ends its groups. Returns the entries of other sources that pass now. */
  drop(source: string): E[] {
    this.#turns = this.#turns.filter((turn) => turn.source !== source);
    return this.end(source);
  }

  #park(source: string, key: string | undefined, over: boolean, entry: E): void {
    let turn = key === undefined ? undefined : this.#open.get(key);
    if (turn === undefined) {
      turn = { source, key, entries: [], over };
      this.#turns.push(turn);
      if (key !== undefined) this.#open.set(key, turn);
    }
    turn.entries.push(entry);
    if (over && key !== undefined) {
      turn.over = true;
      this.#open.delete(key);
    }
  }

  /** Ends the current group. Returns the entries that pass now. */
  #next(): E[] {
    this.#current = undefined;
    const passing: E[] = [];
    while (this.#current === undefined) {
      const turn = this.#turns.shift();
      if (turn === undefined) break;
      passing.push(...turn.entries);
      if (turn.over || turn.key === undefined) continue;
      this.#current = turn.key;
      this.#open.delete(turn.key);
    }
    return passing;
  }
}

function keyOf(source: string, id: string): string {
  return `${source}\u0000${id}`;
}
