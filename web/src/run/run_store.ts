/** A watched run: its model, and the connection that feeds it. */
import { signal } from "@preact/signals";
import { useEffect, useState } from "preact/hooks";
import { api } from "../app/api.ts";
import { streamEvents, type Connection, type ServerEvent } from "../app/events.ts";
import type { ApiError } from "../app/http.ts";
import type { Fault, Gap, Update } from "../app/types.ts";
import { RunModel } from "./run_model.ts";

export class RunStore {
  readonly model: RunModel;
  readonly connection = signal<Connection>("connecting");
  readonly error = signal<string>("");
  /** Reconnections so far. */
  reconnections = 0;
  private readonly abort = new AbortController();

  constructor(id: string) {
    this.model = new RunModel(id);
    void this.describe();
    void streamEvents(api.eventsPath(id), {
      signal: this.abort.signal,
      onEvents: (events) => this.take(events),
      onConnection: (state, error) => this.report(state, error),
    });
  }

  close(): void {
    this.abort.abort();
    this.model.clock.stop();
  }

  private async describe(): Promise<void> {
    try {
      const record = await api.run(this.model.id, this.abort.signal);
      this.model.describe(record);
      this.model.clock.touch();
    } catch (error) {
      if (!this.abort.signal.aborted) this.error.value = (error as Error).message;
    }
  }

  private take(events: ServerEvent[]): boolean {
    for (const event of events) {
      if (event.event === "message") this.model.fold(JSON.parse(event.data) as Update);
      else if (event.event === "gap") this.model.foldGap(JSON.parse(event.data) as Gap);
      else if (event.event === "error") {
        const fault = JSON.parse(event.data) as Fault;
        if (fault.code === "UNAVAILABLE") continue; // the mesh may come back: the stream ends, and is opened again
        this.error.value = fault.message;
        return true;
      }
    }
    this.model.clock.touch();
    return this.model.complete;
  }

  private report(state: Connection, error?: ApiError): void {
    if (state === "waiting") this.reconnections++;
    if (error) this.error.value = error.message;
    this.connection.value = state;
  }
}

/** Draws the component again in each frame in which the model has changed. */
export function useTick(model: RunModel): number {
  return model.clock.tick.value;
}

/** The store of a run, for as long as the component lives. */
export function useRun(id: string): RunStore {
  const [store, setStore] = useState(() => new RunStore(id));
  useEffect(() => {
    let current = store;
    if (current.model.id !== id) setStore((current = new RunStore(id)));
    return () => current.close();
  }, [id]);
  return store;
}
