/** Concurrent firings of a node: each sends after the earlier ones have ended. */

import type { Waits } from "./waits.js";

/** Runs a bounded number of firings at once. */
export class ConcurrentFirings {
  /** The ends of the firings under way, the oldest first; they do not reject. */
  readonly #underWay: Promise<unknown>[] = [];
  /** The end of the latest firing and of all before it; rejects with the error of the first one that failed. */
  #last: Promise<void> = Promise.resolve();
  /** The error of the first firing that has failed. */
  failure: unknown;

  /** `limit`: the most firings at once. `onFailure` is called once, when a firing has failed and all before it have ended. */
  constructor(
    private readonly limit: number,
    private readonly waits: Waits,
    private readonly onFailure: () => void,
  ) {}

  /** Waits until a further firing may begin. Throws the error of one that has failed. */
  async capacity(): Promise<void> {
    while (this.#underWay.length >= this.limit) await this.waits.sibling(this.#underWay[0] as Promise<unknown>);
    if (this.failure !== undefined) throw this.failure;
  }

  /** Begins a firing. It awaits `turn` before it sends anything: `turn` rejects if an earlier firing has failed. */
  begin(fire: (turn: () => Promise<void>) => Promise<void>): void {
    const before = this.#last;
    const firing = this.waits.task(fire(() => this.waits.sibling(before)));
    this.#last = inOrder(firing, before);
    const end = this.#last.catch((error) => {
      if (this.failure === undefined) {
        this.failure = error;
        this.onFailure();
      }
    });
    this.#underWay.push(end);
    void end.then(() => this.#underWay.splice(this.#underWay.indexOf(end), 1));
  }

  /** Waits for the end of all firings. Throws the error of the first one that has failed. */
  async ended(): Promise<void> {
    await this.waits.sibling(this.#last);
  }
}

/** The end of a firing and of those before it, whose errors come first. */
async function inOrder(firing: Promise<void>, before: Promise<void>): Promise<void> {
  try {
    await firing;
  } catch (error) {
    await before;
    throw error;
  }
  await before;
}
