/** What an actor waits for within its run, by which an orchestrator distinguishes a deadlocked run from a slow one. */

/** One wait: for capacity on all of these edges, or for an item or an end at any or each of these inputs. */
export interface Wait {
  fullEdges?: string[];
  anyInputs?: string[];
  allInputs?: string[];
}

/** An emit that has waited so long is reported, in milliseconds, and again with growing pauses. */
const BLOCKED_MS = 200;
const LONGEST_PAUSE_MS = 2_000;

/** The waits of one actor, and the time that it has spent waiting. */
export class Waits {
  /** Incremented by every change. */
  version = 0n;
  /** Milliseconds spent waiting for items, and for capacity. */
  waitingMs = 0;
  blockedMs = 0;
  readonly #waits = new Set<Wait>();
  /** The loop of the actor, and its concurrent firings. */
  #tasks = 1;
  /** Those of them that wait for another one. */
  #siblings = 0;
  readonly #startedAt = performance.now();

  /** `onBlocked` is called when the actor has waited for capacity for 200 ms, and again while it still does. */
  constructor(private readonly onBlocked: () => void) {}

  /** Milliseconds spent in none of these waits. */
  get busyMs(): number {
    return Math.max(0, performance.now() - this.#startedAt - this.waitingMs - this.blockedMs);
  }

  /** All waits of the actor, each of which lets it continue; empty if it is busy. */
  current(): Wait[] {
    return this.#waits.size + this.#siblings < this.#tasks ? [] : [...this.#waits];
  }

  /** Counts a concurrent firing until it settles. */
  async task<T>(firing: Promise<T>): Promise<T> {
    this.#tasks += 1;
    this.version += 1n;
    try {
      return await firing;
    } finally {
      this.#tasks -= 1;
      this.version += 1n;
    }
  }

  /** Records that a task waits for another one of the actor. */
  async sibling<T>(firing: Promise<T>): Promise<T> {
    this.#siblings += 1;
    this.version += 1n;
    try {
      return await firing;
    } finally {
      this.#siblings -= 1;
      this.version += 1n;
    }
  }

  /** Records a wait until a promise settles. */
  async during<T>(wait: Wait, promise: Promise<T>): Promise<T> {
    this.version += 1n;
    this.#waits.add(wait);
    const since = performance.now();
    let pause = BLOCKED_MS;
    let timer: NodeJS.Timeout | undefined;
    if (wait.fullEdges !== undefined) {
      const report = () => {
        this.onBlocked();
        pause = Math.min(LONGEST_PAUSE_MS, pause * 2);
        timer = setTimeout(report, pause);
      };
      timer = setTimeout(report, pause);
    }
    try {
      return await promise;
    } finally {
      clearTimeout(timer);
      this.#waits.delete(wait);
      this.version += 1n;
      const spent = performance.now() - since;
      if (wait.fullEdges !== undefined) this.blockedMs += spent;
      else this.waitingMs += spent;
    }
  }
}
