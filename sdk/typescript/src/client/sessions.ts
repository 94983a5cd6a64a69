/** Conversations that the orchestrator keeps. */

import type { Session } from "../gen/lanemesh/v1/session_pb.js";
import type { RunState } from "../gen/lanemesh/v1/update_pb.js";
import { decodeAnswer, decodeQuestion } from "../value-codec.js";
import type { Answer, Question } from "../values.js";
import type { Calls } from "./calls.js";

/** One turn of a session: a run. */
export interface Turn {
  /** Its number, from 1. */
  number: number;
  runId: string;
  /** What was asked, without the history. */
  question?: Question;
  /** The answer so far, or when the run has ended, the whole answer. */
  answer?: Answer;
  state: RunState;
  /** A part of the answer is missing, because it was too long. */
  truncated: boolean;
}

/** The sessions of one orchestrator. A run with `session` and `conversation` creates one, and is its next turn. */
export class Sessions {
  readonly #calls: Calls;

  constructor(calls: Calls) {
    this.#calls = calls;
  }

  /** A session with its turns. */
  async get(sessionId: string, owner = ""): Promise<{ session: Session; turns: Turn[] }> {
    const response = await this.#calls.short((call) => this.#calls.sessions.getSession({ sessionId, owner }, call));
    const turns = response.turns.map(({ number, runId, question, answer, state, truncated }) => ({
      number,
      runId,
      state,
      truncated,
      ...(question && { question: decodeQuestion(question) }),
      ...(answer && { answer: decodeAnswer(answer) }),
    }));
    return { session: response.session as Session, turns };
  }

  /** Sessions of an owner, the last used first. */
  async *list(filter: { owner?: string; deployment?: string } = {}): AsyncGenerator<Session, void> {
    let pageToken = "";
    do {
      const request = { ...filter, pageToken };
      const page = await this.#calls.short((call) => this.#calls.sessions.listSessions(request, call));
      yield* page.sessions;
      pageToken = page.nextPageToken;
    } while (pageToken !== "");
  }

  /** Copies the first turns of a session to a new one; `turn` is the last of them, by default all. */
  async fork(
    sessionId: string,
    newSessionId: string,
    options: { owner?: string; turn?: number } = {},
  ): Promise<Session> {
    const request = { sessionId, newSessionId, ...options };
    const response = await this.#calls.short((call) => this.#calls.sessions.forkSession(request, call));
    return response.session as Session;
  }

  /** Deletes a session with its turns. */
  async delete(sessionId: string, owner = ""): Promise<void> {
    await this.#calls.short((call) => this.#calls.sessions.deleteSession({ sessionId, owner }, call));
  }
}
