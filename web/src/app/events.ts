/** Server-sent events by fetch: they carry a token, resume after the last event, and reconnect with growing pauses. */
import { EventParser, type ServerEvent } from "./event_parser.ts";
import { headers, toApiError, type ApiError } from "./http.ts";

export type { ServerEvent };

export type Connection = "connecting" | "open" | "waiting" | "ended" | "failed";

export interface StreamOptions {
  /** Id of the last event that is already known; empty: from the beginning. */
  after?: string;
  signal: AbortSignal;
  /** The events of one piece of the response, in order. Returns true after the last one: then the stream is closed. */
  onEvents(events: ServerEvent[]): boolean | void;
  onConnection?(state: Connection, error?: ApiError): void;
}

const FIRST_PAUSE = 50;
const LONGEST_PAUSE = 10_000;
/** After a response that broke before an event was read: the server is there, and browsers drop what was not read when it broke. */
const LONGEST_PAUSE_WHEN_ANSWERED = 500;

/** Reads events until the stream ends (204, or `onEvents` returns true), fails for good, or `signal` aborts. */
export async function streamEvents(path: string, options: StreamOptions): Promise<void> {
  let last = options.after ?? "";
  let pause = FIRST_PAUSE;
  const report = options.onConnection ?? (() => undefined);
  while (!options.signal.aborted) {
    let longest = LONGEST_PAUSE;
    report("connecting");
    try {
      const response = await fetch(path, {
        headers: { ...headers(), Accept: "text/event-stream", ...(last ? { "Last-Event-ID": last } : {}) },
        signal: options.signal,
        cache: "no-store",
      });
      if (response.status === 204) return report("ended");
      if (!response.ok || !response.body) {
        const error = await toApiError(response);
        if (response.status < 500 && response.status !== 408 && response.status !== 429) return report("failed", error);
        throw error;
      }
      report("open");
      longest = LONGEST_PAUSE_WHEN_ANSWERED;
      const parser = new EventParser();
      const decoder = new TextDecoder();
      const reader = response.body.getReader();
      for (;;) {
        const { done, value } = await reader.read();
        if (done) break;
        const events = parser.push(decoder.decode(value, { stream: true }));
        if (!events.length) continue;
        for (const one of events) {
          if (one.event === "error") {
            longest = LONGEST_PAUSE; // one that comes again and again is no progress
            continue;
          }
          pause = FIRST_PAUSE;
          last = one.id || last;
        }
        if (options.onEvents(events)) {
          await reader.cancel();
          return report("ended");
        }
      }
    } catch {
      if (options.signal.aborted) return;
    }
    report("waiting");
    await sleep(pause * (0.5 + Math.random() / 2), options.signal);
    pause = Math.min(pause * 2, longest);
  }
}

function sleep(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });
}
