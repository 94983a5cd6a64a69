/** Files of a person, as parts of a message. */
import { bytes } from "../app/format.ts";
import type { Media } from "../app/types.ts";
import type { Intake, Message } from "./intake.ts";
import type { TextDocument } from "./sessions.ts";

const IMAGES = ["image/png", "image/jpeg", "image/webp", "image/gif"];
const MOST_IMAGE = 5 * 1024 * 1024;
const MOST_TEXT = 512 * 1024;
const MOST_AUDIO = 8 * 1024 * 1024;
/** Most bytes of all files of a message: a request of the API has at most 16 MiB, and base64 makes them longer. */
const MOST_BYTES = 10 * 1024 * 1024;
const MOST_FILES = 10;

export type Attachment = { key: number; name: string; size: number } & (
  | { kind: "image" | "audio"; media: Media }
  | { kind: "document"; document: TextDocument }
);

let next = 1;

/** Reads files after those that there are. Raises an Error that says which file is refused, and why. */
export async function readFile(file: File, intake: Intake, before: readonly Attachment[]): Promise<Attachment> {
  const name = file.name || "pasted file";
  if (before.length >= MOST_FILES) throw new Error(`${name} is left out: a message has at most ${MOST_FILES} files.`);
  if (before.reduce((sum, one) => sum + one.size, file.size) > MOST_BYTES) {
    throw new Error(`${name} is left out: the files of a message have at most ${bytes(MOST_BYTES)} together.`);
  }
  const common = { key: next++, name, size: file.size };
  if (IMAGES.includes(file.type)) {
    if (!intake.images) throw new Error(`${name} is refused: this pipeline takes no images.`);
    check(file, name, MOST_IMAGE, "an image");
    return { ...common, kind: "image", media: await mediaOf(file) };
  }
  if (file.type.startsWith("audio/") || (file.type.startsWith("video/webm") && intake.audio)) {
    if (!intake.audio) throw new Error(`${name} is refused: this pipeline takes no audio.`);
    check(file, name, MOST_AUDIO, "audio");
    return { ...common, kind: "audio", media: await mediaOf(file) };
  }
  const unreadable = `${name} is refused: it is no image (PNG, JPEG, WebP or GIF) and no text in UTF-8.`;
  if (/^(image|video|font)\//.test(file.type) && !file.type.startsWith("image/svg")) throw new Error(unreadable);
  if (!intake.text) throw new Error(`${name} is refused: this pipeline takes no text.`);
  check(file, name, MOST_TEXT, "a text file");
  let content: string;
  try {
    content = new TextDecoder("utf-8", { fatal: true }).decode(await file.arrayBuffer());
  } catch {
    throw new Error(unreadable);
  }
  if (content.includes("\0")) throw new Error(unreadable);
  if (!content.trim()) throw new Error(`${name} is left out: it is empty.`);
  return { ...common, kind: "document", document: { content, source: name } };
}

export function messageOf(text: string, attachments: readonly Attachment[]): Message {
  const message: Message = { text, images: [], documents: [], audio: [] };
  for (const one of attachments) {
    if (one.kind === "document") message.documents.push(one.document);
    else (one.kind === "image" ? message.images : message.audio).push(one.media);
  }
  return message;
}

function check(file: File, name: string, most: number, kind: string): void {
  if (file.size > most) throw new Error(`${name} is refused: ${kind} has at most ${bytes(most)}, this one has ${bytes(file.size)}.`);
}

async function mediaOf(file: File): Promise<Media> {
  const url = await new Promise<string>((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(String(reader.result));
    reader.onerror = () => reject(reader.error ?? new Error(`${file.name} cannot be read`));
    reader.readAsDataURL(file);
  });
  return { mime_type: file.type.split(";")[0]!, content: url.slice(url.indexOf(",") + 1), bytes: file.size };
}
