/** Renders at most once per frame, however many updates arrive. */
import { signal, type Signal } from "@preact/signals";

/** A clock that components read: it moves in the next frame after `touch`. */
export class FrameClock {
  readonly tick: Signal<number> = signal(0);
  private requested = 0;

  touch(): void {
    this.requested ||= requestAnimationFrame(() => {
      this.requested = 0;
      this.tick.value++;
    });
  }

  stop(): void {
    cancelAnimationFrame(this.requested);
    this.requested = 0;
  }
}
