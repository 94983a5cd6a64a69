/** What has reached one input of a target: texts are joined, other items stand one after the other. */
import type { OutputUpdate } from "../app/types.ts";

export const MOST_BLOCKS = 200;
/** Most characters of media that a stream keeps, as base64. */
export const MOST_MEDIA = 64 * 1024 * 1024;
export const MOST_TEXT = 400_000;
/** So many texts that are no pieces of a whole share a block, each as a paragraph. */
export const TEXTS_OF_BLOCK = 100;

export type OutputBlock =
  | {
      kind: "text";
      key: number;
      /** The whole that its texts are pieces of; empty: they are not pieces. */
      group: string;
      items: number;
      text: string;
      /** Characters at its beginning that are no longer kept. */
      cut: number;
      done: boolean;
      finish: string;
      usage: Usage | undefined;
    }
  | { kind: "value"; key: number; lane: string; value: unknown; outcome: string; size: number };

export interface Usage {
  prompt_tokens?: number;
  completion_tokens?: number;
  cost?: number;
}

export interface OutputStream {
  key: string;
  component: string;
  port: string;
  /** Items so far. */
  count: number;
  /** Blocks that are no longer kept. */
  dropped: number;
  revision: number;
  /** Characters of the media that it keeps. */
  media: number;
  blocks: OutputBlock[];
}

interface Answer {
  text?: string;
  data?: unknown;
  finish_reason?: string;
  usage?: Usage;
}

export function appendOutput(stream: OutputStream, update: OutputUpdate): void {
  stream.count++;
  stream.revision++;
  const { value } = update;
  if (update.lane === "text" && typeof value === "string") {
    appendText(stream, update, value, {});
  } else if (update.lane === "answers" && isAnswer(value) && value.data === undefined) {
    appendText(stream, update, value.text ?? "", value);
  } else if (value !== undefined || update.outcome) {
    const lane = update.lane ?? "";
    add(stream, { kind: "value", key: stream.count, lane, value: update.lane === "answers" && isAnswer(value) ? value.data : value, outcome: update.outcome ?? "", size: sizeOf(value) });
  } else if (update.last) {
    const open = stream.blocks.at(-1);
    if (open?.kind === "text") open.done = true;
  }
}

function appendText(stream: OutputStream, update: OutputUpdate, text: string, answer: Answer): void {
  const group = update.group ?? "";
  let block = stream.blocks.at(-1);
  if (block?.kind !== "text" || block.group !== group || block.done || (!group && block.items >= TEXTS_OF_BLOCK)) {
    block = { kind: "text", key: stream.count, group, items: 0, text: "", cut: 0, done: false, finish: "", usage: undefined };
    add(stream, block);
  }
  block.text += group || !block.items ? text : `\n\n${text}`;
  block.items++;
  if (block.text.length > MOST_TEXT * 1.25) {
    block.cut += block.text.length - MOST_TEXT;
    block.text = block.text.slice(-MOST_TEXT);
  }
  if (answer.finish_reason) block.finish = answer.finish_reason;
  if (answer.usage) block.usage = answer.usage;
  block.done = Boolean(update.last) || Boolean(answer.finish_reason);
}

function add(stream: OutputStream, block: OutputBlock): void {
  stream.blocks.push(block);
  stream.media += mediaOf(block);
  let gone = stream.blocks.length > MOST_BLOCKS * 1.25 ? stream.blocks.length - MOST_BLOCKS : 0;
  let media = stream.media - stream.blocks.slice(0, gone).reduce((sum, one) => sum + mediaOf(one), 0);
  while (media > MOST_MEDIA && gone < stream.blocks.length - 1) media -= mediaOf(stream.blocks[gone++]!);
  if (!gone) return;
  stream.blocks.splice(0, gone);
  stream.dropped += gone;
  stream.media = media;
}

const mediaOf = (block: OutputBlock): number => (block.kind === "value" ? block.size : 0);

function sizeOf(value: unknown): number {
  const content = (value as { content?: unknown } | null | undefined)?.content;
  return typeof content === "string" ? content.length : 0;
}

function isAnswer(value: unknown): value is Answer {
  return typeof value === "object" && value !== null && ("text" in value || "data" in value || "finish_reason" in value);
}
