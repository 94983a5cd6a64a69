/** Draws a large graph in slices: each part a few times a second, and a part of them in each turn, so that no frame takes long. */
import { useEffect, useRef, useState } from "preact/hooks";
import type { RunModel } from "./run_model.ts";

/** Up to so many parts all are drawn in each frame. */
const SMALL = 80;
const SLICES = 5;
/** Pause between two slices, in milliseconds. */
const PAUSE = 50;

interface Part {
  revision: number;
}

/**
 * Draws the component again while the model changes. Returns the revision of a part, at its place in its list, that is to be drawn
 * now: the present one if its slice has its turn, else the one that is drawn already.
 */
export function useSlices(model: RunModel, parts: number): (part: Part, place: number) => number {
  const [turn, setTurn] = useState(0);
  const drawn = useRef(new WeakMap<Part, number>());
  const left = useRef(false);
  const small = parts <= SMALL;
  useEffect(() => {
    let timer = 0;
    const next = (): void => {
      timer ||= window.setTimeout(() => {
        timer = 0;
        setTurn((before) => before + 1);
      }, small ? 0 : PAUSE);
    };
    const stop = model.clock.tick.subscribe(next);
    return () => (stop(), clearTimeout(timer));
  }, [model, small]);
  useEffect(() => {
    if (!left.current) return;
    const timer = setTimeout(() => setTurn((before) => before + 1), PAUSE);
    return () => clearTimeout(timer);
  });
  left.current = false;
  return (part, place) => {
    const before = drawn.current.get(part);
    if (before === part.revision) return before;
    if (small || before === undefined || place % SLICES === turn % SLICES) {
      drawn.current.set(part, part.revision);
      return part.revision;
    }
    left.current = true;
    return before;
  };
}
