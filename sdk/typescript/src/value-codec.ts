/** The structured values of lanes to and from their protobuf messages. */

import { create, type MessageInitShape } from "@bufbuild/protobuf";
import * as wire from "./gen/lanemesh/v1/lane_pb.js";
import { type Json, readJson, writeJson } from "./json.js";
import type { Answer, Document, Media, Message, Question, Table, ToolCall, Usage } from "./values.js";

/** A text. Throws TypeError if it is none. */
export function checkText(value: unknown): string {
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

/** The message of a question. Throws TypeError if it is none. */
export function encodeQuestion(value: Question, where: string): wire.Question {
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

/** The message of an answer. Throws TypeError if it is none. */
export function encodeAnswer(value: Answer, where: string): wire.Answer {
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

/** The message of a document. Throws TypeError if it is none. */
export function encodeDocument(value: Document, where: string): wire.Document {
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

/** The message of a table. Throws TypeError if it is none. */
export function encodeTable(value: Table, where: string): wire.Table {
  const table = checkObject(value, "rows", "a table");
  const rows = table.rows.map((row) => {
    if (row.length !== table.columns.length) {
      throw new TypeError(`a row has ${row.length} cells; the table has ${table.columns.length} columns`);
    }
    return { cellsJson: row.map((cell) => writeJson(cell, where)) };
  });
  return create(wire.TableSchema, { columns: table.columns, rows });
}

/** The table that a message carries. */
export function decodeTable(message: wire.Table): Table {
  return { columns: message.columns, rows: message.rows.map((row) => row.cellsJson.map(readJson)) };
}

/** The JSON text of tags. Throws TypeError if they are no object. */
export function encodeTags(value: unknown, where: string): string {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new TypeError(`expected an object, got ${kindOf(value)}`);
  }
  return writeJson(value, where);
}

/** The tags that a JSON text carries. */
export function decodeTags(text: string): { [key: string]: Json } {
  const value = readJson(text);
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new TypeError(`tags must be an object, not ${kindOf(value)}`);
  }
  return value;
}

/** The message of media. Throws TypeError if they are none. */
export function encodeMedia(value: Media): wire.Media {
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
