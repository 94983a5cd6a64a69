const NOTHING: readonly never[] = [];

/** A list of the latest values, of bounded length. */
export class Ring<T> {
  readonly most: number;
  /** Number of values that were dropped. */
  dropped = 0;
  private values: T[] = [];

  constructor(most: number) {
    this.most = most;
  }

  /** Adds a value. The oldest ones are dropped in batches, so that adding is cheap; they are returned. */
  push(value: T): readonly T[] {
    this.values.push(value);
    if (this.values.length <= this.most * 1.25) return NOTHING;
    const gone = this.values.splice(0, this.values.length - this.most);
    this.dropped += gone.length;
    return gone;
  }

  last(): T | undefined {
    return this.values.at(-1);
  }

  /** The values, the oldest first. The caller does not change them. */
  all(): readonly T[] {
    return this.values;
  }

  get length(): number {
    return this.values.length;
  }
}
