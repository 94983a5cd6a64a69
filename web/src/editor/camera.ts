/** What of the drawing is seen: moved by dragging or the wheel, scaled by the buttons or Ctrl and the wheel. */
import type { RefObject } from "preact";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import type { Frame } from "./placement.ts";
import type { Point } from "./pipeline_parts.ts";

const LEAST = 0.15;
const MOST = 2.5;
const MARGIN = 28;

export interface Camera extends Point {
  scale: number;
}

export interface CameraControl {
  camera: Camera;
  move(dx: number, dy: number): void;
  zoom(factor: number): void;
  fit(): void;
  /** Moves so far that the frame is seen. */
  reveal(frame: Frame): void;
  /** The point of the drawing at a place of the window. */
  pointAt(event: { clientX: number; clientY: number }): Point;
  /** The point in the middle of what is seen. */
  middle(): Point;
}

/** @param opened All is shown when it changes. */
export function useCamera(element: RefObject<HTMLElement | null>, frames: ReadonlyMap<string, Frame>, opened: number): CameraControl {
  const [camera, setCamera] = useState<Camera>({ x: 0, y: 0, scale: 1 });
  const size = (): { width: number; height: number } => ({ width: element.current?.clientWidth || 800, height: element.current?.clientHeight || 500 });
  const scaled = (factor: number, at: Point): void => {
    setCamera((now) => {
      const scale = Math.min(MOST, Math.max(LEAST, now.scale * factor));
      return { scale, x: at.x - ((at.x - now.x) / now.scale) * scale, y: at.y - ((at.y - now.y) / now.scale) * scale };
    });
  };
  const fit = (): void => {
    const { width, height } = size();
    const all = [...frames.values()];
    if (!all.length) return setCamera({ x: MARGIN, y: MARGIN, scale: 1 });
    const left = Math.min(...all.map((one) => one.x));
    const top = Math.min(...all.map((one) => one.y));
    const wide = Math.max(...all.map((one) => one.x + one.width)) - left;
    const high = Math.max(...all.map((one) => one.y + one.height)) - top;
    const scale = Math.min(1, Math.max(LEAST, Math.min((width - 2 * MARGIN) / wide, (height - 2 * MARGIN) / high)));
    setCamera({ scale, x: (width - wide * scale) / 2 - left * scale, y: (height - high * scale) / 2 - top * scale });
  };
  const latest = useRef(fit);
  latest.current = fit;
  useLayoutEffect(() => latest.current(), [opened]);
  useEffect(() => {
    const frame = element.current;
    const onWheel = (event: WheelEvent): void => {
      const zooming = event.ctrlKey || event.metaKey;
      if (!zooming && innerWidth <= 900) return; // the page scrolls
      event.preventDefault();
      const box = frame!.getBoundingClientRect();
      if (zooming) scaled(Math.exp(-event.deltaY / 300), { x: event.clientX - box.left, y: event.clientY - box.top });
      else setCamera((now) => ({ ...now, x: now.x - event.deltaX, y: now.y - event.deltaY }));
    };
    frame?.addEventListener("wheel", onWheel, { passive: false });
    return () => frame?.removeEventListener("wheel", onWheel);
  }, []);
  const pointAt = (event: { clientX: number; clientY: number }): Point => {
    const box = element.current!.getBoundingClientRect();
    return { x: (event.clientX - box.left - camera.x) / camera.scale, y: (event.clientY - box.top - camera.y) / camera.scale };
  };
  return {
    camera,
    move: (dx, dy) => setCamera((now) => ({ ...now, x: now.x + dx, y: now.y + dy })),
    zoom: (factor) => scaled(factor, { x: size().width / 2, y: size().height / 2 }),
    fit,
    reveal(frame) {
      const { width, height } = size();
      setCamera((now) => {
        const [left, top] = [now.x + frame.x * now.scale, now.y + frame.y * now.scale];
        const [right, bottom] = [left + frame.width * now.scale, top + frame.height * now.scale];
        const dx = left < MARGIN || frame.width * now.scale > width ? MARGIN - left : right > width - MARGIN ? width - MARGIN - right : 0;
        const dy = top < MARGIN ? MARGIN - top : bottom > height - MARGIN ? height - MARGIN - bottom : 0;
        return dx || dy ? { ...now, x: now.x + dx, y: now.y + dy } : now;
      });
    },
    pointAt,
    middle: () => ({ x: (size().width / 2 - camera.x) / camera.scale, y: (size().height / 2 - camera.y) / camera.scale }),
  };
}
