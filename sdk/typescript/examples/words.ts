/** A node server with two node types, until it is interrupted: node words.js 127.0.0.1:7070 */

import { defineNode, serve } from "lanemesh";
import { z } from "zod";

/** Fires on each text, and yields its words. */
const words = defineNode(
  {
    name: "words_ts",
    description: "Splits texts into words.",
    inputs: { text: "text" },
    outputs: { words: "text" },
    config: z.object({ longest: z.number().int().min(1).default(100).describe("Longer words are left out.") }),
  },
  {
    *generate({ text }, { config }) {
      for (const word of text.split(/\s+/)) {
        if (word !== "" && word.length <= config.longest) yield { words: word };
      }
    },
  },
);

/** Reads its input itself, and sends the counts at its end. */
const frequencies = defineNode(
  {
    name: "frequencies_ts",
    description: "Counts how often each text occurs.",
    inputs: { text: "text" },
    outputs: { counts: "data" },
  },
  {
    async run(inputs, outputs) {
      const counts: Record<string, number> = {};
      for await (const text of inputs.port("text")) counts[text] = (counts[text] ?? 0) + 1;
      await outputs.emit("counts", counts);
    },
  },
);

const server = await serve({ orchestrator: process.argv[2] ?? "127.0.0.1:7070", nodes: [words, frequencies] });
for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => void server.close());
