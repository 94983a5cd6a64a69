/** Items to and from their protobuf form: the value by the type of its lane, the envelope, and what they count in bytes. */

import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { timestampDate, timestampFromDate } from "@bufbuild/protobuf/wkt";
import { LanemeshError, refused } from "./errors.js";
import * as wire from "./gen/lanemesh/v1/lane_pb.js";
import { readJson, writeJson } from "./json.js";
import {
  checkText,
  decodeAnswer,
  decodeDocument,
  decodeMedia,
  decodeQuestion,
  decodeTable,
  decodeTags,
  encodeAnswer,
  encodeDocument,
  encodeMedia,
  encodeQuestion,
  encodeTable,
  encodeTags,
} from "./value-codec.js";
import type { Envelope, Group, LaneType, Value, ValueOf } from "./values.js";

/** The largest gRPC message. */
export const MAX_MESSAGE_BYTES = 16 * 1024 * 1024;
/** The largest value other than media: a message less what surrounds the value. */
export const MAX_VALUE_BYTES = MAX_MESSAGE_BYTES - 64 * 1024;
/** The largest content of a media value, or of the file of a document. */
export const MAX_MEDIA_BYTES = 256 * 1024 * 1024;
/** What an item counts against limits in bytes besides its value. */
export const ITEM_OVERHEAD_BYTES = 16;

const UTF8 = new TextEncoder();

type ItemInit = MessageInitShape<typeof wire.ItemSchema>;
type Payload = wire.Item["payload"];

interface Codec<L extends LaneType> {
  wire: wire.LaneType;
  field: NonNullable<Payload["case"]>;
  encode(value: ValueOf[L], where: string): unknown;
  decode(payload: never): ValueOf[L];
}

const CODECS: { [L in LaneType]: Codec<L> } = {
  text: { wire: wire.LaneType.TEXT, field: "text", encode: checkText, decode: (text: string) => text },
  questions: { wire: wire.LaneType.QUESTIONS, field: "question", encode: encodeQuestion, decode: decodeQuestion },
  answers: { wire: wire.LaneType.ANSWERS, field: "answer", encode: encodeAnswer, decode: decodeAnswer },
  documents: { wire: wire.LaneType.DOCUMENTS, field: "document", encode: encodeDocument, decode: decodeDocument },
  table: { wire: wire.LaneType.TABLE, field: "table", encode: encodeTable, decode: decodeTable },
  tags: { wire: wire.LaneType.TAGS, field: "tagsJson", encode: encodeTags, decode: decodeTags },
  image: { wire: wire.LaneType.IMAGE, field: "image", encode: encodeMedia, decode: decodeMedia },
  audio: { wire: wire.LaneType.AUDIO, field: "audio", encode: encodeMedia, decode: decodeMedia },
  video: { wire: wire.LaneType.VIDEO, field: "video", encode: encodeMedia, decode: decodeMedia },
  data: { wire: wire.LaneType.DATA, field: "dataJson", encode: writeJson, decode: (text: string) => readJson(text) },
};

const BY_FIELD = new Map(Object.entries(CODECS).map(([lane, codec]) => [codec.field, lane as LaneType]));
const BY_WIRE = new Map(Object.entries(CODECS).map(([lane, codec]) => [codec.wire, lane as LaneType]));

/** All types of lanes. */
export const LANE_TYPES = Object.keys(CODECS) as readonly LaneType[];

/** The type of lane as protobuf has it. */
export function toWireLane(lane: LaneType): wire.LaneType {
  return CODECS[lane].wire;
}

/** The type of lane that protobuf names; undefined if it is unspecified or unknown. */
export function fromWireLane(lane: wire.LaneType): LaneType | undefined {
  return BY_WIRE.get(lane);
}

/** A value on its way: without one, the item carries only an envelope. */
export interface LaneItem {
  value?: unknown;
  envelope?: Envelope;
  /** What it counts against limits in bytes. */
  size: number;
}

/**
 * The protobuf form of a value, and what it counts against limits in bytes.
 *
 * Throws LanemeshError ("wrong-type" or "wrong-value") if the lane cannot carry the value.
 */
export function encodeValue(lane: LaneType, value: unknown, where: string): { payload: Payload; size: number } {
  if (lane === "text" && typeof value === "string" && value.length < MAX_VALUE_BYTES / 4) {
    return { payload: { case: "text", value }, size: utf8Length(value) + ITEM_OVERHEAD_BYTES };
  }
  const codec = CODECS[lane];
  const place = `${where} emitted a value that a lane of type ${lane} cannot carry`;
  let payload: Payload;
  try {
    payload = { case: codec.field, value: codec.encode(value as never, place) } as Payload;
  } catch (error) {
    if (error instanceof LanemeshError) throw error.with({ details: { port: where, "lane-type": lane } });
    throw refused("wrong-type", `${place}: ${(error as Error).message}`, { port: where, "lane-type": lane });
  }
  const size = payloadSize(payload) + ITEM_OVERHEAD_BYTES;
  const bytes = payloadBytes(payload)?.length ?? 0;
  if (bytes > MAX_MEDIA_BYTES) throw refused("wrong-value", `${place}: ${bytes} bytes of media; the limit is 256 MiB`);
  if (size - bytes > MAX_VALUE_BYTES) {
    const limit = `the limit is ${MAX_VALUE_BYTES} (16 MiB minus a margin). Send it in pieces`;
    throw refused("wrong-value", `${place}: ${size - bytes} bytes; ${limit}`);
  }
  return { payload, size };
}

/** The protobuf form of a value with its type. */
export function encodeTyped(value: Value, where: string, envelope: Envelope = {}): wire.Item {
  const { payload } = encodeValue(value.lane, value.value, where);
  return create(wire.ItemSchema, { ...encodeEnvelope(envelope), payload });
}

/** The fields of an item for an envelope. */
export function encodeEnvelope(envelope: Envelope): ItemInit {
  const init: ItemInit = {};
  if (envelope.group !== undefined) init.group = { ...envelope.group, outcome: OUTCOMES[envelope.group.outcome] };
  if (envelope.metadata !== undefined) init.metadata = envelope.metadata;
  if (envelope.createdAt !== undefined) init.createdAt = timestampFromDate(envelope.createdAt);
  return init;
}

/** The item of a message on a lane. Throws Error if the lane does not carry such items. */
export function decodeItem(lane: LaneType, item: wire.Item): LaneItem {
  const envelope = decodeEnvelope(item);
  const field = item.payload.case;
  if (field === "text" && lane === "text" && envelope === undefined) {
    return { value: item.payload.value, size: utf8Length(item.payload.value) + ITEM_OVERHEAD_BYTES };
  }
  if (field === undefined) {
    if (envelope === undefined) throw new Error("an item has neither a value nor an envelope");
    return { envelope, size: ITEM_OVERHEAD_BYTES };
  }
  const codec = CODECS[lane];
  if (field !== codec.field) throw new Error(`an item carries ${field} on a lane of type ${lane}`);
  const decoded: LaneItem = {
    value: codec.decode(item.payload.value as never),
    size: payloadSize(item.payload) + ITEM_OVERHEAD_BYTES,
  };
  if (envelope !== undefined) decoded.envelope = envelope;
  return decoded;
}

/** The value of a message, with its type; undefined if the item carries only an envelope. */
export function decodeTyped(item: wire.Item): Value | undefined {
  const lane = item.payload.case === undefined ? undefined : BY_FIELD.get(item.payload.case);
  if (lane === undefined) return undefined;
  return { lane, value: CODECS[lane].decode(item.payload.value as never) } as Value;
}

/** What a message says of its value; undefined if it says nothing. */
export function decodeEnvelope(item: wire.Item): Envelope | undefined {
  const envelope: Envelope = {};
  if (item.group !== undefined) envelope.group = decodeGroup(item.group);
  if (item.createdAt !== undefined) envelope.createdAt = timestampDate(item.createdAt);
  for (const _ in item.metadata) {
    envelope.metadata = item.metadata;
    break;
  }
  if (envelope.group === undefined && envelope.metadata === undefined && envelope.createdAt === undefined) {
    // An item that carries only the end of a lineage has nothing that a node reads.
    return item.lineage === undefined ? undefined : {};
  }
  return envelope;
}

/** The bytes of media, or of the file of a document; undefined if the value has none. */
export function payloadBytes(payload: Payload): Uint8Array | undefined {
  switch (payload.case) {
    case "image":
    case "audio":
    case "video":
      return payload.value.content;
    case "document":
      return payload.value.file?.content;
    default:
      return undefined;
  }
}

/** The same value with other bytes. */
export function withBytes(payload: Payload, content: Uint8Array): Payload {
  switch (payload.case) {
    case "image":
    case "audio":
    case "video":
      return { case: payload.case, value: { ...payload.value, content } };
    case "document":
      if (payload.value.file === undefined) return payload;
      return { case: "document", value: { ...payload.value, file: { ...payload.value.file, content } } };
    default:
      return payload;
  }
}

const OUTCOMES: Record<Group["outcome"], wire.GroupOutcome> = {
  ok: wire.GroupOutcome.UNSPECIFIED,
  error: wire.GroupOutcome.ERROR,
  cancelled: wire.GroupOutcome.CANCELLED,
};

function decodeGroup(group: wire.Group): Group {
  const { id, index, last } = group;
  const outcome =
    group.outcome === wire.GroupOutcome.UNSPECIFIED
      ? "ok"
      : group.outcome === wire.GroupOutcome.CANCELLED
        ? "cancelled"
        : "error";
  return { id, index, last, outcome };
}

/** About how many bytes a value takes on the wire. */
function payloadSize(payload: Payload): number {
  switch (payload.case) {
    case undefined:
      return 0;
    case "text":
      return utf8Length(payload.value);
    case "dataJson":
    case "tagsJson":
      return payload.value.length * 1.1;
    case "answer":
      return utf8Length(payload.value.text) + payload.value.dataJson.length + sizeOf(payload.value.toolCalls) + 24;
    default:
      return sizeOf(payload.value);
  }
}

/** The length of a text in UTF-8; an upper bound where it is not ASCII. */
function utf8Length(text: string): number {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: the range of ASCII
  return text.length < 256 || /^[\x00-\x7f]*$/.test(text) ? text.length : UTF8.encode(text).length;
}

function sizeOf(value: unknown): number {
  if (typeof value === "string") return value.length + 4;
  if (value instanceof Uint8Array) return value.length + 4;
  if (Array.isArray(value)) {
    if (typeof value[0] === "number") return 4 + 4 * value.length;
    return value.reduce<number>((sum, element) => sum + sizeOf(element), 4);
  }
  if (typeof value === "object" && value !== null) {
    return Object.values(value).reduce<number>((sum, element) => sum + sizeOf(element), 0);
  }
  return 8;
}
