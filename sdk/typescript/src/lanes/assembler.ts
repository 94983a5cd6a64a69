/** Assembles the pieces of groups at an input into wholes. Pure. */

import { ITEM_OVERHEAD_BYTES, type LaneItem, MAX_MEDIA_BYTES } from "../codec.js";
import { Code, LanemeshError } from "../errors.js";
import type { Answer, Document, LaneType, Media } from "../values.js";

/** The most pieces of incomplete wholes that an input holds, and the most bytes of them. */
const MAX_OPEN_ITEMS = 100_000;
const MAX_OPEN_BYTES = 64 * 1024 * 1024;

interface Open {
  values: unknown[];
  items: number;
  size: number;
  metadata: Record<string, string>;
}

/** Joins the pieces of each group, which its source (the edge) and its id identify. An item without a group is a whole. */
export class Assembler {
  readonly #open = new Map<string, Map<string, Open>>();
  readonly #maxBytes: number;
  #items = 0;
  #bytes = 0;
  #dropped = 0;

  constructor(private readonly lane: LaneType) {
    const isFile = ["documents", "image", "audio", "video"].includes(lane);
    this.#maxBytes = isFile ? MAX_MEDIA_BYTES : MAX_OPEN_BYTES;
  }

  /** Adds a piece; returns the whole that it completes. Throws LanemeshError if too many are open, or they cannot be joined. */
  put(source: string, item: LaneItem): LaneItem | undefined {
    const group = item.envelope?.group;
    if (group === undefined) return "value" in item ? item : undefined;
    let groups = this.#open.get(source);
    if (groups === undefined) {
      groups = new Map();
      this.#open.set(source, groups);
    }
    let open = groups.get(group.id);
    if (open === undefined) {
      open = { values: [], items: 0, size: 0, metadata: {} };
      groups.set(group.id, open);
    }
    if ("value" in item) open.values.push(item.value);
    open.items += 1;
    open.size += item.size;
    Object.assign(open.metadata, item.envelope?.metadata);
    this.#items += 1;
    this.#bytes += item.size;
    if (!group.last) {
      if (this.#items > MAX_OPEN_ITEMS || this.#bytes > this.#maxBytes) throw this.#tooLarge();
      return undefined;
    }
    groups.delete(group.id);
    this.#forget(open);
    if (group.outcome !== "ok") {
      this.#dropped += 1;
      return undefined;
    }
    if (open.values.length === 0) return undefined;
    return this.#whole(open);
  }

  /** A source has ended. At a clean end its open groups are whole; otherwise they are dropped. */
  end(source: string, clean: boolean): LaneItem[] {
    const groups = this.#open.get(source);
    if (groups === undefined) return [];
    this.#open.delete(source);
    for (const open of groups.values()) this.#forget(open);
    if (!clean) this.#dropped += groups.size;
    return clean ? [...groups.values()].filter((open) => open.values.length > 0).map((open) => this.#whole(open)) : [];
  }

  /** The number of wholes that were dropped since the last call. */
  takeDropped(): number {
    const dropped = this.#dropped;
    this.#dropped = 0;
    return dropped;
  }

  #whole(open: Open): LaneItem {
    const metadata = Object.keys(open.metadata).length > 0 ? { metadata: open.metadata } : {};
    return { value: this.#join(open.values), size: open.size + ITEM_OVERHEAD_BYTES, envelope: metadata };
  }

  #join(values: unknown[]): unknown {
    switch (this.lane) {
      case "text":
        return values.join("");
      case "answers":
        return joinAnswers(values as Answer[]);
      case "documents":
        return joinDocuments(values as Document[]);
      case "image":
      case "audio":
      case "video":
        return joinMedia(values as Media[]);
      default:
        if (values.length === 1) return values[0];
        throw new LanemeshError({
          code: Code.InvalidArgument,
          reason: "bad-whole",
          message: `the pieces of a group of the lane type ${this.lane} cannot be assembled`,
        });
    }
  }

  #forget(open: Open): void {
    this.#items -= open.items;
    this.#bytes -= open.size;
  }

  #tooLarge(): LanemeshError {
    const limits = `${MAX_OPEN_ITEMS} pieces or ${this.#maxBytes} bytes`;
    return new LanemeshError({
      code: Code.ResourceExhausted,
      reason: "whole-too-large",
      message: `${this.#items} pieces of ${this.#bytes} bytes belong to incomplete groups; the limit is ${limits}`,
    });
  }
}

function joinAnswers(pieces: Answer[]): Answer {
  const whole: Answer = { text: pieces.map((piece) => piece.text ?? "").join("") };
  for (const piece of pieces) {
    if (piece.data !== undefined) whole.data = piece.data;
    if (piece.usage !== undefined) whole.usage = piece.usage;
    if (piece.finishReason) whole.finishReason = piece.finishReason;
    if (piece.toolCalls?.length) whole.toolCalls = [...(whole.toolCalls ?? []), ...piece.toolCalls];
  }
  return whole;
}

function joinDocuments(pieces: Document[]): Document {
  const [first] = pieces as [Document];
  if (pieces.length === 1) return first;
  const { chunkIndex: _, embedding: __, score: ___, ...whole } = first;
  const files = pieces.flatMap((piece) => (piece.file === undefined ? [] : [piece.file]));
  return {
    ...whole,
    content: pieces.map((piece) => piece.content).join(""),
    ...(files.length > 0 && { file: joinMedia(files) }),
  };
}

function joinMedia(pieces: Media[]): Media {
  const [first] = pieces as [Media];
  if (pieces.length === 1) return first;
  if (pieces.some((piece) => piece.uri !== undefined)) {
    const message = "pieces with a URI cannot be assembled";
    throw new LanemeshError({ code: Code.InvalidArgument, reason: "bad-whole", message });
  }
  const contents = pieces.map((piece) => piece.content ?? new Uint8Array());
  const content = new Uint8Array(contents.reduce((sum, one) => sum + one.length, 0));
  let at = 0;
  for (const one of contents) {
    content.set(one, at);
    at += one.length;
  }
  return { ...first, content };
}
