/** The parts of a document as the editor reads them. A document may be anything that is JSON: what has another form is left out. */
import type { ComponentEntry, PipelineDocument } from "../app/types.ts";

export type Json = unknown;
export type JsonObject = Record<string, unknown>;

export interface Point {
  x: number;
  y: number;
}

/** A component and its place in `components`. */
export interface Part {
  index: number;
  id: string;
  provider: string;
  entry: ComponentEntry;
}

/** An entry of `input` or `control` of a component. */
export interface Connection {
  /** Its JSON pointer. */
  pointer: string;
  kind: "lane" | "control";
  /** Where the line begins: the producer, or the component that calls the helper. */
  from: string;
  /** Where the line ends: the consumer, or the helper. */
  to: string;
  entry: JsonObject;
}

export const isObject = (value: unknown): value is JsonObject => typeof value === "object" && value !== null && !Array.isArray(value);

export const words = (value: unknown): string => (typeof value === "string" ? value : "");

/** The components with an id; of several with the same id the first one. */
export function partsOf(document: PipelineDocument): Part[] {
  const seen = new Set<string>();
  const parts: Part[] = [];
  for (const [index, entry] of listOf(document.components).entries()) {
    const id = words(entry["id"]);
    if (!id || seen.has(id)) continue;
    seen.add(id);
    parts.push({ index, id, provider: words(entry["provider"]), entry: entry as unknown as ComponentEntry });
  }
  return parts;
}

export function connectionsOf(document: PipelineDocument): Connection[] {
  return partsOf(document).flatMap(({ index, id, entry }) => [
    ...ends(entry.input, `/components/${index}/input`, "lane", id),
    ...ends(entry.control, `/components/${index}/control`, "control", id),
  ]);
}

function ends(list: unknown, pointer: string, kind: Connection["kind"], to: string): Connection[] {
  return listOf(list).flatMap((entry, index) => {
    const from = words(entry["from"]);
    return from ? [{ pointer: `${pointer}/${index}`, kind, from, to, entry }] : [];
  });
}

/** The entries of a list; what is no object is an empty one, so that indices stay. */
function listOf(value: unknown): JsonObject[] {
  return Array.isArray(value) ? value.map((one) => (isObject(one) ? one : {})) : [];
}

/** Where nodes have been placed: `ui.positions` of the document, or `ui.position` of a component. */
export function positionsOf(document: PipelineDocument): Map<string, Point> {
  const ui = document["ui"];
  const kept = isObject(ui) && isObject(ui["positions"]) ? ui["positions"] : {};
  const found = new Map<string, Point>();
  for (const { id, entry } of partsOf(document)) {
    const place = Object.hasOwn(kept, id) ? kept[id] : isObject(entry.ui) ? entry.ui["position"] : undefined;
    if (isPoint(place)) found.set(id, { x: place.x, y: place.y });
  }
  return found;
}

function isPoint(value: unknown): value is Point {
  return isObject(value) && Number.isFinite(value["x"]) && Number.isFinite(value["y"]);
}

/** An id that no component has: the node type with a number. */
export function freeId(document: PipelineDocument, provider: string): string {
  const taken = new Set(partsOf(document).map((one) => one.id));
  const stem = provider.replace(/[^A-Za-z0-9_-]+/g, "_").slice(0, 100) || "node";
  for (let number = 1; ; number++) if (!taken.has(`${stem}_${number}`)) return `${stem}_${number}`;
}
