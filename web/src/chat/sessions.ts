/** The conversations that the mesh keeps: the requests of the HTTP API about them. */
import { call } from "../app/http.ts";
import type { Media, RunState } from "../app/types.ts";

export interface Session {
  id: string;
  deployment: string;
  title: string;
  created_at: string;
  used_at: string;
  last_turn: number;
}

export interface TextDocument {
  content: string;
  source?: string;
}

export interface Question {
  text: string;
  images?: Media[];
  documents?: TextDocument[];
}

export interface KeptTurn {
  number: number;
  run_id: string;
  state: RunState;
  question: Question;
  answer: { text?: string; data?: unknown; finish_reason?: string };
  created_at: string;
  ended_at?: string;
  /** The answer was longer than what a session keeps. */
  truncated?: boolean;
}

/** Most sessions of a list. */
export const MOST_SESSIONS = 200;

const path = (id: string, ...more: string[]): string => ["/v1/sessions", encodeURIComponent(id), ...more].join("/");

export const sessions = {
  list: (deployment: string, abort?: AbortSignal) =>
    call<{ sessions: Session[] }>("GET", `/v1/sessions?limit=${MOST_SESSIONS}&deployment=${encodeURIComponent(deployment)}`, undefined, abort),
  get: (id: string, abort?: AbortSignal) => call<Session & { turns: KeptTurn[] }>("GET", path(id), undefined, abort),
  fork: (id: string, turn: number, fork: string) => call<Session>("POST", path(id, "fork"), { turn, id: fork }),
  delete: (id: string) => call<void>("DELETE", path(id)),
};

/** An id of 128 random bits: who knows it can read the session. */
export function newSessionId(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (one) => one.toString(16).padStart(2, "0")).join("");
}
