/** Values to and from the protobuf form of items. */

import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { timestampDate, timestampFromDate } from "@bufbuild/protobuf/wkt";
import { LanemeshError, refused } from "./errors.js";
import * as wire from "./gen/lanemesh/v1/lane_pb.js";
import { type Json, readJson, writeJson } from "./json.js";
import type {
  Answer,
  Document,
  Envelope,
  Group,
  LaneType,
  Media,
  Message,
  Question,
  Table,
  ToolCall,
  Usage,
  Value,
  ValueOf,
} from "./values.js";

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

function checkText(value: unknown): string {
  if (typeof value !== "string") throw new TypeError(`expected a string, got ${kindOf(value)}`);
  return value;
}

function kindOf(value: unknown): string {
  return value === null ? "null" : Array.isArray(value) ? "an array" : typeof value;
}

function checkObject<T extends object>(value: T, field: keyof T & string, what: string): T {
  if (typeof value !== "object" || value === null || !(field in value)) {
    throw new TypeError(`expected ${what} with the field "${field}", got ${kindOf(value)}`);
  }
  return value;
}

function optionalJson(value: Json | undefined, where: string): string {
  return value === undefined ? "" : writeJson(value, where);
}

function encodeQuestion(value: Question, where: string): wire.Question {
  const question = checkObject(value, "text", "a question");
  return create(wire.QuestionSchema, {
    text: checkText(question.text),
    instructions: question.instructions ?? "",
    history: (question.history ?? []).map(encodeMessage),
    examples: question.examples ?? [],
    documents: (question.documents ?? []).map((one) => encodeDocument(one, where)),
    schemaJson: optionalJson(question.schema, where),
    embedding: question.embedding ?? [],
    images: (question.images ?? []).map(encodeMedia),
    tools: (question.tools ?? []).map((tool) => ({
      name: tool.name,
      description: tool.description ?? "",
      parametersJson: optionalJson(tool.parameters, where),
    })),
  });
}

/** The question that a message carries. */
export function decodeQuestion(message: wire.Question): Question {
  const question: Question = { text: message.text };
  if (message.instructions) question.instructions = message.instructions;
  if (message.history.length) question.history = message.history.map(decodeMessage);
  if (message.examples.length) {
    question.examples = message.examples.map((pair) => ({ question: pair.question, answer: pair.answer }));
  }
  if (message.documents.length) question.documents = message.documents.map(decodeDocument);
  if (message.schemaJson) question.schema = readJson(message.schemaJson);
  if (message.embedding.length) question.embedding = message.embedding;
  if (message.images.length) question.images = message.images.map(decodeMedia);
  if (message.tools.length) {
    question.tools = message.tools.map((tool) => ({
      name: tool.name,
      description: tool.description,
      parameters: tool.parametersJson ? readJson(tool.parametersJson) : {},
    }));
  }
  return question;
}

function encodeMessage(message: Message): MessageInitShape<typeof wire.MessageSchema> {
  return {
    role: message.role,
    content: message.content,
    toolCalls: (message.toolCalls ?? []).map(encodeCall),
    toolCallId: message.toolCallId ?? "",
    images: (message.images ?? []).map(encodeMedia),
  };
}

function decodeMessage(message: wire.Message): Message {
  const decoded: Message = { role: message.role, content: message.content };
  if (message.toolCalls.length) decoded.toolCalls = message.toolCalls.map(decodeCall);
  if (message.toolCallId) decoded.toolCallId = message.toolCallId;
  if (message.images.length) decoded.images = message.images.map(decodeMedia);
  return decoded;
}

function encodeCall(call: ToolCall): MessageInitShape<typeof wire.ToolCallSchema> {
  return { id: call.id, name: call.name, argumentsJson: call.arguments };
}

function decodeCall(call: wire.ToolCall): ToolCall {
  return { id: call.id, name: call.name, arguments: call.argumentsJson };
}

function encodeAnswer(value: Answer, where: string): wire.Answer {
  if (typeof value !== "object" || value === null) throw new TypeError(`expected an answer, got ${kindOf(value)}`);
  const usage = value.usage;
  const init: MessageInitShape<typeof wire.AnswerSchema> = {
    text: checkText(value.text ?? ""),
    dataJson: optionalJson(value.data, where),
    finishReason: value.finishReason ?? "",
    toolCalls: (value.toolCalls ?? []).map(encodeCall),
  };
  if (usage !== undefined) {
    init.usage = { promptTokens: usage.promptTokens, completionTokens: usage.completionTokens };
    if (usage.toolCalls !== undefined) init.usage.toolCalls = usage.toolCalls;
    if (usage.cost !== undefined) init.usage.cost = usage.cost;
  }
  return create(wire.AnswerSchema, init);
}

/** The piece of an answer that a message carries. */
export function decodeAnswer(message: wire.Answer): Answer {
  const answer: Answer = { text: message.text };
  if (message.dataJson) answer.data = readJson(message.dataJson);
  if (message.finishReason) answer.finishReason = message.finishReason;
  if (message.usage !== undefined) answer.usage = decodeUsage(message.usage);
  if (message.toolCalls.length) answer.toolCalls = message.toolCalls.map(decodeCall);
  return answer;
}

/** What a generation used. */
export function decodeUsage(message: wire.Usage): Usage {
  const { promptTokens, completionTokens, toolCalls } = message;
  const usage: Usage = { promptTokens, completionTokens, toolCalls };
  if (message.cost !== undefined) usage.cost = message.cost;
  return usage;
}

function encodeDocument(value: Document, where: string): wire.Document {
  const document = checkObject(value, "content", "a document");
  const init: MessageInitShape<typeof wire.DocumentSchema> = {
    content: checkText(document.content),
    id: document.id ?? "",
    embedding: document.embedding ?? [],
    source: document.source ?? "",
    metadataJson: optionalJson(document.metadata, where),
  };
  if (document.score !== undefined) init.score = document.score;
  if (document.chunkIndex !== undefined) init.chunkIndex = document.chunkIndex;
  if (document.file !== undefined) init.file = encodeMedia(document.file);
  return create(wire.DocumentSchema, init);
}

/** The document that a message carries. */
export function decodeDocument(message: wire.Document): Document {
  const document: Document = { content: message.content };
  if (message.id) document.id = message.id;
  if (message.embedding.length) document.embedding = message.embedding;
  if (message.score !== undefined) document.score = message.score;
  if (message.source) document.source = message.source;
  if (message.chunkIndex !== undefined) document.chunkIndex = message.chunkIndex;
  if (message.metadataJson) document.metadata = decodeTags(message.metadataJson);
  if (message.file !== undefined) document.file = decodeMedia(message.file);
  return document;
}

function encodeTable(value: Table, where: string): wire.Table {
  const table = checkObject(value, "rows", "a table");
  const rows = table.rows.map((row) => {
    if (row.length !== table.columns.length) {
      throw new TypeError(`a row has ${row.length} cells; the table has ${table.columns.length} columns`);
    }
    return { cellsJson: row.map((cell) => writeJson(cell, where)) };
  });
  return create(wire.TableSchema, { columns: table.columns, rows });
}

function decodeTable(message: wire.Table): Table {
  return { columns: message.columns, rows: message.rows.map((row) => row.cellsJson.map(readJson)) };
}

function encodeTags(value: unknown, where: string): string {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new TypeError(`expected an object, got ${kindOf(value)}`);
  }
  return writeJson(value, where);
}

function decodeTags(text: string): { [key: string]: Json } {
  const value = readJson(text);
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new TypeError(`tags must be an object, not ${kindOf(value)}`);
  }
  return value;
}

function encodeMedia(value: Media): wire.Media {
  const media = checkObject(value, "mimeType", "media");
  if ((media.content === undefined) === (media.uri === undefined)) {
    throw new TypeError("media have either `content` or `uri`");
  }
  if (media.content !== undefined && !(media.content instanceof Uint8Array)) {
    throw new TypeError(`the content of media is a Uint8Array, not ${kindOf(media.content)}`);
  }
  const init: MessageInitShape<typeof wire.MediaSchema> = {
    mimeType: media.mimeType,
    content: media.content ?? new Uint8Array(),
    uri: media.uri ?? "",
    width: media.width ?? 0,
    height: media.height ?? 0,
    rate: media.rate ?? 0,
    channels: media.channels ?? 0,
  };
  if (media.timestamp !== undefined) init.timestampSeconds = media.timestamp;
  return create(wire.MediaSchema, init);
}

/** The media that a message carries. */
export function decodeMedia(message: wire.Media): Media {
  const { mimeType, width, height, rate, channels } = message;
  const media: Media = { mimeType, width, height, rate, channels };
  if (message.uri) media.uri = message.uri;
  else media.content = message.content;
  if (message.timestampSeconds !== undefined) media.timestamp = message.timestampSeconds;
  return media;
}
