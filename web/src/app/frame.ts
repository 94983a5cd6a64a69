/** Renders at most once per frame, and at most 30 times a second, however many updates arrive. */
import { signal, type Signal } from "@preact/signals";

/** Between two renderings, in milliseconds: every other frame of most screens stays free for scrolling and typing. */
const PAUSE = 30;

/** A clock that components read: it moves soon after `touch`. */
export class FrameClock {
  readonly tick: Signal<number> = signal(0);
  private requested = 0;
  private moved = 0;

  touch(): void {
    this.requested ||= requestAnimationFrame(this.frame);
  }

  stop(): void {
    cancelAnimationFrame(this.requested);
    this.requested = 0;
  }

  private readonly frame = (time: number): void => {
    this.requested = 0;
    if (time - this.moved < PAUSE) return this.touch();
    this.moved = time;
    this.tick.value++;
  };
}
