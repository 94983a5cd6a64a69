/** The fields of documents, components and edges, as JSON Schemas for their forms (docs/pipelines.md). */
import type { JsonSchema } from "../app/catalogue.ts";

const text = (description: string): JsonSchema => ({ type: "string", description });

export const PIPELINE: JsonSchema = {
  properties: {
    name: { type: "string", maxLength: 200, description: "Name, for people." },
    description: text("What it does."),
    source: { type: "string", maxLength: 128, description: "The component that the client feeds; required if several are possible." },
    timeout: { type: "number", description: "Time limit of a run in seconds." },
    trace: { enum: ["none", "metadata", "summary", "full"], default: "none", description: "What is reported of each item that reaches a node." },
  },
};

export const COMPONENT: JsonSchema = {
  properties: {
    name: { type: "string", maxLength: 200, description: "Name, for people." },
    description: text("What it is for."),
    sync_mode: { enum: ["on_any", "zip_all", "join"], description: "When it fires." },
    join_on: { type: "string", maxLength: 300, description: "Fork by which a join pairs items: component.output." },
    on_error: { description: 'What follows a failed firing: "fail", "skip", or {"retry": {"attempts": 3}}.' },
    timeout: { type: "number", description: "Time limit in seconds of one firing, or of the whole run of the node." },
    concurrency: { type: "integer", default: 1, description: "Maximum number of concurrent firings." },
    isolation: { enum: ["thread", "process"], description: "Where its bodies run." },
    placement: { description: 'Which node servers may host it: {"labels": {"gpu": "a100"}}.' },
  },
};

export const LANE: JsonSchema = {
  properties: {
    buffer_limit: { type: "integer", description: "Maximum number of items sent and not yet taken." },
    buffer_bytes: { type: "integer", description: "Bytes waiting at the consumer above which it stops reading." },
    merge: { enum: ["group"], description: "group: deliver one group of pieces after the other." },
  },
};

export const CONTROL: JsonSchema = {
  properties: { name: { type: "string", maxLength: 200, description: "Name by which the component calls it, if it has several helpers." } },
};

/** The fields of a value that a schema has: what else an entry has is drawn by the graph, or kept as it is. */
export function known(value: object, schema: JsonSchema): Record<string, unknown> {
  return Object.fromEntries(Object.entries(value).filter(([name]) => Object.hasOwn(schema.properties ?? {}, name)));
}
