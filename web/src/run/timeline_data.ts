/** When a node was busy, waiting and blocked: shares of each span between two of its reports. */
import type { NodeState } from "../app/types.ts";

const MOST_SPANS = 240;

export interface Span {
  /** Seconds since the epoch. */
  from: number;
  to: number;
  /** Shares of the span, from 0 to 1. */
  busy: number;
  waiting: number;
  blocked: number;
}

interface Times {
  state: NodeState;
  busy: number;
  waiting: number;
  blocked: number;
}

export class Timeline {
  spans: Span[] = [];
  private last: { time: number; busy: number; waiting: number; blocked: number } | undefined;

  /** Adds a report: the seconds so far at a time. */
  add(time: number, times: Times): void {
    const before = this.last;
    this.last = { time, busy: times.busy, waiting: times.waiting, blocked: times.blocked };
    if (!before || time <= before.time) return;
    const length = time - before.time;
    const share = (now: number, then: number): number => Math.min(1, Math.max(0, (now - then) / length));
    this.spans.push({
      from: before.time,
      to: time,
      busy: share(times.busy, before.busy),
      waiting: share(times.waiting, before.waiting),
      blocked: share(times.blocked, before.blocked),
    });
    if (this.spans.length > MOST_SPANS) this.spans = this.halved();
  }

  /** The shares over the last seconds; undefined if nothing was reported. */
  recent(seconds: number): { busy: number; waiting: number; blocked: number } | undefined {
    const end = this.spans.at(-1)?.to;
    if (end === undefined) return undefined;
    const total = { busy: 0, waiting: 0, blocked: 0, length: 0 };
    for (let index = this.spans.length - 1; index >= 0; index--) {
      const span = this.spans[index]!;
      if (span.to <= end - seconds) break;
      const length = span.to - span.from;
      total.busy += span.busy * length;
      total.waiting += span.waiting * length;
      total.blocked += span.blocked * length;
      total.length += length;
    }
    const { length } = total;
    return { busy: total.busy / length, waiting: total.waiting / length, blocked: total.blocked / length };
  }

  /** Two neighbours become one span: a long run is drawn more coarsely. */
  private halved(): Span[] {
    const halves: Span[] = [];
    for (let index = 0; index < this.spans.length; index += 2) {
      const first = this.spans[index]!;
      const second = this.spans[index + 1];
      if (!second) {
        halves.push(first);
        continue;
      }
      const [a, b] = [first.to - first.from, second.to - second.from];
      const mean = (x: number, y: number): number => (x * a + y * b) / (a + b);
      halves.push({
        from: first.from,
        to: second.to,
        busy: mean(first.busy, second.busy),
        waiting: mean(first.waiting, second.waiting),
        blocked: mean(first.blocked, second.blocked),
      });
    }
    return halves;
  }
}
