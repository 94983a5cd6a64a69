/** Loads a value of the API, keeps the last good one, and loads it again at an interval while the page is visible. */
import { useEffect, useRef, useState } from "preact/hooks";
import type { ApiError } from "./http.ts";

export interface Resource<T> {
  value: T | undefined;
  error: ApiError | undefined;
  reload(): void;
}

/**
 * @param load Called again when `dependencies` change.
 * @param interval Pause between two loads, in milliseconds; 0: load once.
 */
export function useResource<T>(load: (abort: AbortSignal) => Promise<T>, dependencies: readonly unknown[], interval = 0): Resource<T> {
  const [state, setState] = useState<{ value?: T; error?: ApiError }>({});
  const reload = useRef<() => void>(() => undefined);
  useEffect(() => {
    const abort = new AbortController();
    let timer = 0;
    let loading = false;
    const once = async (): Promise<void> => {
      clearTimeout(timer);
      if (loading) return;
      loading = true;
      try {
        const value = await load(abort.signal);
        if (!abort.signal.aborted) setState({ value });
      } catch (error) {
        if (!abort.signal.aborted) setState((before) => ({ ...before, error: error as ApiError }));
      }
      loading = false;
      if (interval && !abort.signal.aborted && !document.hidden) timer = window.setTimeout(once, interval);
    };
    const shown = (): void => {
      if (interval && !document.hidden) void once();
    };
    reload.current = () => void once();
    setState({});
    document.addEventListener("visibilitychange", shown);
    void once();
    return () => {
      abort.abort();
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", shown);
    };
  }, dependencies);
  return { value: state.value, error: state.error, reload: () => reload.current() };
}
