import { deepEqual, equal } from "node:assert/strict";
import { test } from "node:test";
import { inputsOf, intakeOf } from "../src/chat/intake.ts";

const TYPES = [
  { provider: "chat", aliases: ["talk"], boundary: "source" as const },
  { provider: "file", boundary: "source" as const },
];
const MESSAGE = {
  text: "hello",
  images: [{ mime_type: "image/png", content: "AA==" }],
  documents: [{ content: "boots", source: "notes.txt" }],
  audio: [],
};

function intake(provider: string, ...lanes: string[]) {
  const input = lanes.map((lane) => ({ lane, from: "source_1" }));
  return intakeOf({ components: [{ id: "source_1", provider }, { id: "node_1", provider: "any", input }] }, TYPES);
}

test("a pipeline of questions gets the files within the question", () => {
  const found = intake("talk", "questions")!;
  deepEqual(found, { questions: true, text: true, images: true, documents: true, audio: false });
  const { text, images, documents } = MESSAGE;
  deepEqual(inputsOf(MESSAGE, found), [{ lane: "questions", value: { text, images, documents } }]);
});

test("a pipeline of texts gets documents as a part of the text", () => {
  const found = intake("chat", "text")!;
  equal(found.images, false);
  deepEqual(inputsOf({ ...MESSAGE, images: [] }, found), [{ lane: "text", value: "hello\n\nnotes.txt:\n\nboots" }]);
});

test("a source of files gets each part by its lane", () => {
  const found = intake("file", "text", "image", "documents")!;
  deepEqual(
    inputsOf(MESSAGE, found).map((one) => one.lane),
    ["image", "documents", "text"],
  );
});

test("a pipeline that nobody can talk to is none to chat with", () => {
  equal(intake("file", "video"), undefined);
  equal(intake("any", "text"), undefined);
});

test("of several sources the one that the pipeline names counts", () => {
  const components = [
    { id: "file_1", provider: "file" },
    { id: "chat_1", provider: "chat" },
    { id: "node_1", provider: "any", input: [{ lane: "questions", from: "chat_1" }] },
  ];
  equal(intakeOf({ components, source: "chat_1" }, TYPES)?.questions, true);
  equal(intakeOf({ components }, TYPES), undefined);
});
