/** One conversation: its turns, and the runs that answer them. The mesh keeps it; this is what a page shows of it. */
import { signal } from "@preact/signals";
import { api } from "../app/api.ts";
import { ApiError } from "../app/http.ts";
import { push, replace } from "../app/router.ts";
import { RunStore } from "../run/run_store.ts";
import { inputsOf, type Intake, type Message } from "./intake.ts";
import { newSessionId, sessions, type KeptTurn } from "./sessions.ts";

/** Moves when the list of sessions has changed by an act on this page. */
export const sessionsChanged = signal(0);

let next = 1;

export class Turn {
  readonly key = next++;
  readonly message: Message;
  /** What the session has of it; undefined if it began on this page. */
  readonly kept: KeptTurn | undefined;
  readonly runId = signal("");
  /** Its run, watched; undefined while it is not started, and for a kept turn whose steps are not shown. */
  readonly store = signal<RunStore | undefined>(undefined);
  /** Why it could not be started. */
  readonly error = signal<ApiError | undefined>(undefined);
  /** A part of the session. A run without a question or a text is none. */
  inSession = true;
  /** The reader asked for the steps of a kept turn. */
  stepsWanted = false;

  constructor(message: Message, kept?: KeptTurn) {
    this.message = message;
    this.kept = kept;
    if (kept) this.runId.value = kept.run_id;
  }

  /** Its run goes on. */
  get active(): boolean {
    if (this.kept && this.kept.state !== "running") return false;
    const store = this.store.value;
    if (!store) return !this.kept && !this.error.value;
    void store.model.clock.tick.value;
    return !store.model.ended && !store.error.value;
  }

  watch(): void {
    if (!this.store.value) this.store.value = new RunStore(this.runId.value);
  }

  showSteps(): void {
    this.stepsWanted = true;
    this.watch();
  }

  close(): void {
    this.store.value?.close();
  }
}

export class Chat {
  readonly deployment: string;
  /** Empty before the first turn. */
  id: string;
  readonly turns = signal<readonly Turn[]>([]);
  readonly loading = signal(false);
  readonly error = signal<ApiError | undefined>(undefined);
  private readonly abort = new AbortController();

  constructor(deployment: string, id: string) {
    this.deployment = deployment;
    this.id = id;
    if (id) void this.load();
  }

  get active(): Turn | undefined {
    return this.turns.value.findLast((one) => one.active);
  }

  close(): void {
    this.abort.abort();
    for (const turn of this.turns.value) turn.close();
  }

  async load(): Promise<void> {
    this.loading.value = true;
    this.error.value = undefined;
    try {
      const { turns, deployment } = await sessions.get(this.id, this.abort.signal);
      if (deployment && deployment !== this.deployment) return replace("chat", deployment, this.id);
      this.turns.value = turns.map((kept) => restored(kept));
    } catch (error) {
      if (!this.abort.signal.aborted) this.error.value = error as ApiError;
    }
    this.loading.value = false;
  }

  /** Starts the next turn. */
  async ask(message: Message, intake: Intake): Promise<void> {
    const turn = new Turn(message);
    const inputs = inputsOf(message, intake);
    turn.inSession = inputs.some((one) => one.lane === "questions" || one.lane === "text");
    if (!this.id && turn.inSession) {
      this.id = newSessionId();
      replace("chat", this.deployment, this.id);
    }
    this.error.value = undefined;
    this.turns.value = [...this.turns.value.filter((one) => !one.error.value), turn];
    try {
      const session = turn.inSession ? { session: this.id } : {};
      const started = await api.startRun({ pipeline: `@${this.deployment}`, inputs, ...session });
      turn.runId.value = started.run_id;
      if (this.abort.signal.aborted) return;
      turn.watch();
      sessionsChanged.value++;
    } catch (error) {
      turn.error.value = error as ApiError;
    }
  }

  /** Stops the answer that is being given. */
  async stop(): Promise<void> {
    const run = this.active?.runId.value;
    if (run) await api.cancelRun(run, "stopped in the chat");
  }

  /** Asks again at the place of a turn, in a new session that has the turns before it. The session so far stays as it is. */
  async askAgain(turn: Turn, message: Message, intake: Intake): Promise<void> {
    if (!turn.inSession || turn.error.value) return this.ask(message, intake);
    const index = this.turns.value.indexOf(turn);
    const before = this.turns.value.slice(0, index);
    const last = before.findLast((one) => one.runId.value && one.inSession);
    const id = newSessionId();
    const active = this.active?.runId.value;
    if (active) await api.cancelRun(active, "asked again in the chat");
    if (last) await this.fork(last.runId.value, id);
    for (const gone of this.turns.value.slice(index)) gone.close();
    this.turns.value = before;
    this.id = id;
    push("chat", this.deployment, id); // at once, so that its view takes this for the conversation of the new address
    await this.ask(message, intake);
  }

  private async fork(run: string, id: string): Promise<void> {
    const { turns } = await sessions.get(this.id, this.abort.signal);
    const place = turns.find((one) => one.run_id === run);
    if (!place) throw new Error("The session no longer has the turn before this one. Ask in a new conversation.");
    await sessions.fork(this.id, place.number, id);
  }
}

function restored(kept: KeptTurn): Turn {
  const { text, images = [], documents = [] } = kept.question;
  const turn = new Turn({ text, images, documents, audio: [] }, kept);
  const whole = kept.state === "completed" && !kept.truncated && (kept.answer.text || kept.answer.data !== undefined);
  // Of any other turn the run itself shows more: what was streamed so far, an image, or why it failed.
  if (!whole) turn.watch();
  return turn;
}
