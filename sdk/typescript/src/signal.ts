/** Waiting within one process: a condition that fires, and bounded waits. */

/** Wakes all that wait when something has changed. */
export class Signal {
  #waiters = new Set<() => void>();

  /** Wakes every waiter. */
  fire(): void {
    if (this.#waiters.size === 0) return;
    const waiters = this.#waiters;
    this.#waiters = new Set();
    for (const wake of waiters) wake();
  }

  /** Waits for the next `fire`. */
  wait(): Promise<void> {
    return new Promise((resolve) => {
      this.#waiters.add(resolve);
    });
  }

  /** Calls a function at the next `fire`. */
  once(wake: () => void): void {
    this.#waiters.add(wake);
  }

  /** Forgets a function that `once` got. */
  forget(wake: () => void): void {
    this.#waiters.delete(wake);
  }

  /** Waits for the next `fire`, at most so long. Returns whether it fired. */
  waitAtMost(milliseconds: number): Promise<boolean> {
    return new Promise((resolve) => {
      const wake = () => {
        clearTimeout(timer);
        resolve(true);
      };
      const timer = setTimeout(() => {
        this.forget(wake);
        resolve(false);
      }, milliseconds);
      this.#waiters.add(wake);
    });
  }
}

/** Whether a promise settles within so many milliseconds. Its error is that of the caller of the promise. */
export async function within(promise: Promise<unknown>, milliseconds: number): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<boolean>((resolve) => {
    timer = setTimeout(() => resolve(false), milliseconds);
  });
  try {
    return await Promise.race([
      promise.then(
        () => true,
        () => true,
      ),
      late,
    ]);
  } finally {
    clearTimeout(timer);
  }
}

/** Waits so many milliseconds, or until `signal` aborts. */
export function sleep(milliseconds: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve();
    const end = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", end);
      resolve();
    };
    const timer = setTimeout(end, milliseconds);
    signal?.addEventListener("abort", end);
  });
}

/** Pauses that double, with jitter, from the first to the longest, in milliseconds. */
export class Backoff {
  #next: number;

  constructor(
    private readonly first: number,
    private readonly longest: number,
  ) {
    this.#next = first;
  }

  /** The next pause. */
  next(): number {
    const pause = this.#next;
    this.#next = Math.min(this.longest, pause * 2);
    return pause * (0.5 + Math.random() / 2);
  }

  /** Begins again with the first pause. */
  reset(): void {
    this.#next = this.first;
  }
}
