/** What lanes carry, as TypeScript sees it. */

import type { Json } from "./json.js";

/** The value of each type of lane. */
export interface ValueOf {
  text: string;
  questions: Question;
  answers: Answer;
  documents: Document;
  table: Table;
  tags: { [key: string]: Json };
  image: Media;
  audio: Media;
  video: Media;
  data: Json;
}

/** The type of the values on a lane, as pipelines name it. */
export type LaneType = keyof ValueOf;

/** A value with its type: `value.lane` says which one it is. */
export type Value = { [L in LaneType]: { readonly lane: L; readonly value: ValueOf[L] } }[LaneType];

/** A question to a model or an agent. */
export interface Question {
  text: string;
  /** Instructions on how to answer; a system prompt. */
  instructions?: string;
  /** Earlier turns of the conversation, oldest first. */
  history?: Message[];
  examples?: { question: string; answer: string }[];
  /** Documents to answer from. */
  documents?: Document[];
  /** The JSON schema that the answer must follow; absent: any text. */
  schema?: Json;
  /** The embedding of the text. */
  embedding?: number[];
  images?: Media[];
  /** Tools of the client, which the answer may request to call. */
  tools?: ToolSpec[];
}

/** One turn of a conversation. */
export interface Message {
  /** "system", "user", "assistant" or "tool". */
  role: string;
  content: string;
  toolCalls?: ToolCall[];
  /** In a tool's turn: the id of the call that it answers. */
  toolCallId?: string;
  images?: Media[];
}

/** The description of a tool for a model. */
export interface ToolSpec {
  name: string;
  description?: string;
  /** The JSON schema of its arguments: an object. */
  parameters?: Json;
}

/** A tool call that a model requests. */
export interface ToolCall {
  id: string;
  name: string;
  /** A JSON object, as text. */
  arguments: string;
}

/** A piece of one answer. The last piece has `finishReason`. */
export interface Answer {
  /** Text to append to the earlier pieces. */
  text?: string;
  /** A JSON value, if the answer is structured. */
  data?: Json;
  /** "stop", "length", "tool_calls", "cancelled" or "error"; absent on all but the last piece. */
  finishReason?: string;
  usage?: Usage;
  toolCalls?: ToolCall[];
}

/** Tokens used by a generation. */
export interface Usage {
  promptTokens: bigint;
  completionTokens: bigint;
  /** In US dollars; absent if it is unknown. */
  cost?: number;
  toolCalls?: bigint;
}

/** A document or a chunk of one. */
export interface Document {
  content: string;
  id?: string;
  embedding?: number[];
  /** How well it matches the query; greater is better. */
  score?: number;
  /** Its origin: a URI or a file's path. */
  source?: string;
  /** Position of the chunk in its source, from 0; absent on a whole document. */
  chunkIndex?: bigint;
  metadata?: { [key: string]: Json };
  /** The file itself, where its text has not been read. */
  file?: Media;
}

/** A table. */
export interface Table {
  columns: string[];
  rows: Json[][];
}

/** An image, or a piece of audio or video: its bytes, or where they are. */
export interface Media {
  /** IANA media type, such as "image/png". */
  mimeType: string;
  /** The bytes, at most 256 MiB; absent if `uri` is set. */
  content?: Uint8Array;
  uri?: string;
  /** Position of a piece of a stream, in seconds from its start. */
  timestamp?: number;
  /** In pixels; 0 if unknown. */
  width?: number;
  height?: number;
  /** Sample rate of audio, or frame rate of video, in Hz; 0 if unknown. */
  rate?: number;
  /** Number of audio channels; 0 if unknown. */
  channels?: number;
}

/** Marks the pieces of one whole, such as the tokens of an answer. */
export interface Group {
  /** Unique within the run. */
  id: string;
  /** Position of the piece in the whole, from 0. */
  index: bigint;
  /** No more pieces follow. */
  last: boolean;
  /** How the group ended; valid with `last`. */
  outcome: "ok" | "error" | "cancelled";
}

/** What is known of a value besides itself. */
export interface Envelope {
  group?: Group;
  /** Free annotations. */
  metadata?: Record<string, string>;
  createdAt?: Date;
}

/** A piece of text. */
export const text = (value: string): Value => ({ lane: "text", value });
/** Any JSON value. */
export const data = (value: Json): Value => ({ lane: "data", value });
/** A question, from its text or all its fields. */
export const question = (value: string | Question): Value => ({
  lane: "questions",
  value: typeof value === "string" ? { text: value } : value,
});
/** A piece of an answer. */
export const answer = (value: string | Answer): Value => ({
  lane: "answers",
  value: typeof value === "string" ? { text: value } : value,
});
/** A document. */
export const document = (value: string | Document): Value => ({
  lane: "documents",
  value: typeof value === "string" ? { content: value } : value,
});
/** A table. */
export const table = (columns: string[], rows: Json[][]): Value => ({ lane: "table", value: { columns, rows } });
/** Structured metadata and parameters. */
export const tags = (value: { [key: string]: Json }): Value => ({ lane: "tags", value });
/** An image. */
export const image = (value: Media): Value => ({ lane: "image", value });
/** A piece of audio. */
export const audio = (value: Media): Value => ({ lane: "audio", value });
/** A piece of video. */
export const video = (value: Media): Value => ({ lane: "video", value });
