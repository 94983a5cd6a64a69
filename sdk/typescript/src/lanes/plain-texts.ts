/**
 * Frames of short ASCII texts without envelopes, written and read by hand.
 *
 * Most lanes carry tokens. Making a message of each would cost more than all other work of a lane. Both ends treat the items of a
 * frame as a field that its message does not know: protobuf then leaves its bytes as they are.
 */

import { isAscii } from "node:buffer";
import { create, type DescMessage, type DescMethodBiDiStreaming, fromBinary } from "@bufbuild/protobuf";
import { BinaryReader, BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { ITEM_OVERHEAD_BYTES, type LaneItem } from "../codec.js";
import {
  type ExchangeRequest,
  ExchangeRequestSchema,
  type ExchangeResponseSchema,
  type LaneItems,
  LaneItemsSchema,
} from "../gen/lanemesh/v1/lane_pb.js";
import { NodeService } from "../gen/lanemesh/v1/node_pb.js";
import type { Outgoing } from "./sender.js";

/** The longest text that counts as short here: with its two tags and lengths it stays under 128 bytes. */
const PLAIN_CHARACTERS = 100;
/** The bytes before a short text of so many characters: an item's tag and length, its text's tag and length. */
const HEADS = Array.from(
  { length: PLAIN_CHARACTERS + 1 },
  (_, length) => `\n${String.fromCharCode(length + 2)}\n${String.fromCharCode(length)}`,
);
const HEAD_BYTES = 4;
/** The tag of field 1 with a length, which both an item of a frame and the text of an item have. */
const TAG = 0x0a;
// biome-ignore lint/suspicious/noControlCharactersInRegex: the range of ASCII
const ASCII = /^[\x00-\x7f]*$/;
const ITEMS = ExchangeRequestSchema.field.items;

const withoutItems: DescMessage = {
  ...ExchangeRequestSchema,
  fields: ExchangeRequestSchema.fields.filter((field) => field !== ITEMS),
};

/** `Exchange` whose requests have their items as bytes: see `itemsOf`. */
export const exchangeOfBytes: DescMethodBiDiStreaming<typeof ExchangeRequestSchema, typeof ExchangeResponseSchema> = {
  ...NodeService.method.exchange,
  input: withoutItems as typeof ExchangeRequestSchema,
};

/** The frame of these texts; undefined if there are others than short ASCII texts without envelopes. */
export function plainTexts(taken: Outgoing[]): ExchangeRequest | undefined {
  let pieces = "";
  for (const { payload, envelope } of taken) {
    if (payload?.case !== "text" || envelope !== undefined || payload.value.length > PLAIN_CHARACTERS) return undefined;
    pieces += HEADS[payload.value.length] + payload.value;
  }
  if (!ASCII.test(pieces)) return undefined;
  const data = new BinaryWriter().bytes(Buffer.from(pieces, "latin1")).finish();
  const frame = create(ExchangeRequestSchema);
  frame.$unknown = [{ no: ITEMS.number, wireType: WireType.LengthDelimited, data }];
  return frame;
}

/** The bytes of the items of a frame; undefined if it has none. Throws Error if that is not all of it. */
export function itemsOf(request: ExchangeRequest): Uint8Array | undefined {
  const parts = request.$unknown?.filter(({ no }) => no === ITEMS.number) ?? [];
  if (parts.length === 0) return undefined;
  const [part] = parts;
  if (part?.wireType !== WireType.LengthDelimited || parts.length > 1 || request.frame.case !== undefined) {
    throw new Error("a frame has content other than one list of items");
  }
  return new BinaryReader(part.data).bytes();
}

/** The items of a frame of short ASCII texts; undefined if it has others, which `readItems` reads. */
export function readPlainTexts(bytes: Uint8Array): LaneItem[] | undefined {
  if (!isAscii(bytes)) return undefined;
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  const items: LaneItem[] = [];
  for (let at = 0; at < bytes.length; ) {
    const length = bytes[at + 3] as number;
    const end = at + HEAD_BYTES + length;
    const isPlain = bytes[at] === TAG && bytes[at + 1] === length + 2 && bytes[at + 2] === TAG && end <= bytes.length;
    if (!isPlain) return undefined;
    items.push({ value: text.toString("latin1", at + HEAD_BYTES, end), size: length + ITEM_OVERHEAD_BYTES });
    at = end;
  }
  return items;
}

/** The items of any frame. Throws Error if the bytes are not those of items. */
export function readItems(bytes: Uint8Array): LaneItems {
  return fromBinary(LaneItemsSchema, bytes);
}
