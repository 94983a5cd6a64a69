/** What a deployed pipeline takes from a person, and the inputs of a run that carry it. */
import type { NodeType } from "../app/catalogue.ts";
import type { Media, PipelineDocument } from "../app/types.ts";
import type { Question, TextDocument } from "./sessions.ts";

export interface Intake {
  /** Takes what is written, as a question or as a text. */
  text: boolean;
  questions: boolean;
  images: boolean;
  documents: boolean;
  audio: boolean;
}

export interface Message {
  text: string;
  images: Media[];
  documents: TextDocument[];
  audio: Media[];
}

/** What its source passes on; undefined if it has none that a person can feed. */
export function intakeOf(pipeline: PipelineDocument, types: readonly NodeType[]): Intake | undefined {
  const isSource = (provider: string): boolean =>
    types.some((one) => one.boundary === "source" && (one.provider === provider || one.aliases?.includes(provider)));
  const sources = pipeline.components.filter((one) => isSource(one.provider));
  const source = sources.find((one) => one.id === pipeline.source) ?? sources[0];
  if (!source) return undefined;
  const lanes = new Set(pipeline.components.flatMap((one) => one.input ?? []).filter((one) => one.from === source.id).map((one) => one.lane));
  const questions = lanes.has("questions");
  const intake = {
    questions,
    text: questions || lanes.has("text"),
    images: questions || lanes.has("image"),
    documents: questions || lanes.has("documents"),
    audio: lanes.has("audio"),
  };
  return intake.text || intake.audio ? intake : undefined;
}

interface Input {
  lane: string;
  value: unknown;
}

/** The inputs of a run. Documents that the pipeline takes in no other way become a part of the text. */
export function inputsOf(message: Message, intake: Intake): Input[] {
  const audio = message.audio.map((value) => ({ lane: "audio", value }));
  if (intake.questions) {
    const { text, images, documents } = message;
    const question: Question = { text, ...(images.length ? { images } : {}), ...(documents.length ? { documents } : {}) };
    return text || images.length || documents.length ? [{ lane: "questions", value: question }, ...audio] : audio;
  }
  const documents = intake.documents ? message.documents.map((value) => ({ lane: "documents", value })) : [];
  const parts = intake.documents ? [message.text] : [message.text, ...message.documents.map((one) => `${one.source ?? "File"}:\n\n${one.content}`)];
  const text = parts.filter(Boolean).join("\n\n");
  return [...message.images.map((value) => ({ lane: "image", value })), ...documents, ...audio, ...(text ? [{ lane: "text", value: text }] : [])];
}
