/** The fields of documents, components and edges, as JSON Schemas for their forms (docs/pipelines.md). */
import type { JsonSchema } from "../app/catalogue.ts";

const text = (description: string, maxLength?: number): JsonSchema => ({ type: "string", description, maxLength });
const choice = (description: string, ...names: string[]): JsonSchema => ({ enum: names, description });
const number = (description: string): JsonSchema => ({ type: "number", description });

const NAME = text("Name, for people.", 200);

export const PIPELINE: JsonSchema = {
  properties: {
    name: NAME,
    description: text("What it does."),
    source: text("The component that the client feeds, if several are possible.", 128),
    timeout: number("Time limit of a run in seconds."),
    trace: choice("What is reported of each item that reaches a node.", "none", "metadata", "summary", "full"),
  },
};

/** The same, with the sources to choose from where there are several. */
export function pipelineSchema(sources: readonly string[]): JsonSchema {
  if (sources.length < 2) return PIPELINE;
  return { properties: { ...PIPELINE.properties, source: choice("The source of a run that names none.", ...sources) } };
}

export const COMPONENT: JsonSchema = {
  properties: {
    name: NAME,
    description: text("What it is for."),
    sync_mode: choice("When it fires.", "on_any", "zip_all", "join"),
    join_on: text("Fork by which a join pairs items: component.output.", 300),
    on_error: { description: 'What follows a failed firing: "fail", "skip", or {"retry": {"attempts": 3}}.' },
    timeout: number("Time limit of a firing in seconds."),
    concurrency: number("Maximum number of concurrent firings."),
    isolation: choice("Where its bodies run.", "thread", "process"),
    placement: { description: 'Which node servers may host it: {"labels": {"gpu": "a100"}}.' },
  },
};

export const LANE: JsonSchema = {
  properties: {
    buffer_limit: number("Maximum number of items sent and not yet taken."),
    buffer_bytes: number("Bytes waiting at the consumer above which it stops reading."),
    merge: choice("Deliver one group of pieces after the other.", "group"),
  },
};

export const CONTROL: JsonSchema = { properties: { name: text("Name by which the component calls it, if it has several helpers.", 200) } };

/** The fields of a value that a schema has: what else an entry has is drawn by the graph, or kept as it is. */
export function known(value: object, schema: JsonSchema): Record<string, unknown> {
  return Object.fromEntries(Object.entries(value).filter(([name]) => Object.hasOwn(schema.properties ?? {}, name)));
}
