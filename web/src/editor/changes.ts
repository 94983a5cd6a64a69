/**
 * Changes of a document. Each returns a new document that shares all unchanged parts with the given one, so that unknown fields are
 * kept and `rewritten` keeps the text of what has not changed.
 */
import type { PipelineDocument } from "../app/types.ts";
import { connectionsOf, isObject, partsOf, type JsonObject, type Point } from "./pipeline_parts.ts";

export const EMPTY: PipelineDocument = { name: "", components: [], version: 1 };

const escaped = (name: string): string => name.replaceAll("~", "~0").replaceAll("/", "~1");
const unescaped = (name: string): string => name.replaceAll("~1", "/").replaceAll("~0", "~");

export const join = (pointer: string, name: string | number): string => `${pointer}/${escaped(String(name))}`;

export const pathOf = (pointer: string): string[] => pointer.split("/").slice(1).map(unescaped);

/** The value at a pointer; undefined if there is none. */
export function valueAt(root: unknown, pointer: string): unknown {
  let found: unknown = root;
  for (const name of pathOf(pointer)) {
    if (Array.isArray(found)) found = found[Number(name)];
    else if (isObject(found) && Object.hasOwn(found, name)) found = found[name];
    else return undefined;
  }
  return found;
}

/** The root with another value at a pointer. Missing objects on the way are made; `undefined` removes the value, and objects that it leaves empty. */
export function withValue<T>(root: T, pointer: string, value: unknown): T {
  return placed(root, pathOf(pointer), value) as T;
}

function placed(root: unknown, path: string[], value: unknown): unknown {
  const [name, ...rest] = path;
  if (name === undefined) return value;
  if (Array.isArray(root)) {
    const list = [...(root as unknown[])];
    const next = placed(list[Number(name)], rest, value);
    if (next === undefined) list.splice(Number(name), 1);
    else list[Number(name)] = next;
    return list;
  }
  const object: JsonObject = isObject(root) ? root : {};
  let next = placed(Object.hasOwn(object, name) ? object[name] : undefined, rest, value);
  if (value === undefined && rest.length && isEmpty(next)) next = undefined;
  if (next !== undefined) return { ...object, [name]: next };
  const { [name]: _, ...others } = object;
  return others;
}

const isEmpty = (value: unknown): boolean => isObject(value) && !Object.keys(value).length;

const withComponents = (document: PipelineDocument, components: unknown[]): PipelineDocument =>
  ({ ...document, components }) as PipelineDocument;

const componentsOf = (document: PipelineDocument): unknown[] => (Array.isArray(document.components) ? document.components : []);

export function withComponent(document: PipelineDocument, entry: JsonObject): PipelineDocument {
  return withComponents(document, [...componentsOf(document), entry]);
}

/** Adds an entry to `input` or `control` of a component. */
export function withConnection(document: PipelineDocument, to: string, field: "input" | "control", entry: JsonObject): PipelineDocument {
  const part = partsOf(document).find((one) => one.id === to);
  if (!part) return document;
  const before = part.entry[field];
  return withValue(document, `/components/${part.index}/${field}`, [...(Array.isArray(before) ? (before as unknown[]) : []), entry]);
}

/** Removes a connection, and the list that is empty then. */
export function withoutConnection(document: PipelineDocument, pointer: string): PipelineDocument {
  const list = pointer.slice(0, pointer.lastIndexOf("/"));
  const changed = withValue(document, pointer, undefined);
  const left = valueAt(changed, list);
  return Array.isArray(left) && !left.length ? withValue(changed, list, undefined) : changed;
}

/** Removes a component, its connections and its position. */
export function withoutComponent(document: PipelineDocument, id: string): PipelineDocument {
  let changed = document;
  const gone = connectionsOf(document).filter((one) => one.from === id && one.to !== id);
  for (const { pointer } of gone.reverse()) changed = withoutConnection(changed, pointer);
  const part = partsOf(changed).find((one) => one.id === id);
  if (part) changed = withComponents(changed, componentsOf(changed).filter((_, index) => index !== part.index));
  if (changed.source === id) changed = withValue(changed, "/source", undefined);
  return withValue(changed, join("/ui/positions", id), undefined);
}

/** Renames a component wherever the document names it. */
export function withId(document: PipelineDocument, before: string, after: string): PipelineDocument {
  let changed = document;
  for (const { pointer } of connectionsOf(document).filter((one) => one.from === before)) changed = withValue(changed, `${pointer}/from`, after);
  for (const part of partsOf(changed)) {
    const fork = part.entry["join_on"];
    if (typeof fork === "string" && fork.startsWith(`${before}.`)) {
      changed = withValue(changed, `/components/${part.index}/join_on`, after + fork.slice(before.length));
    }
    if (part.id === before) changed = withValue(changed, `/components/${part.index}/id`, after);
  }
  if (changed.source === before) changed = { ...changed, source: after };
  const place = valueAt(changed, join("/ui/positions", before));
  if (place === undefined) return changed;
  return withValue(withValue(changed, join("/ui/positions", after), place), join("/ui/positions", before), undefined);
}

/** Writes positions, in whole units: to `ui.position` of a component that has one, else to `ui.positions` of the document. */
export function withPositions(document: PipelineDocument, positions: ReadonlyMap<string, Point>): PipelineDocument {
  let changed = document;
  for (const { id, index, entry } of partsOf(document)) {
    const place = positions.get(id);
    if (!place) continue;
    const own = isObject(entry.ui) && isObject(entry.ui["position"]);
    const pointer = own ? `/components/${index}/ui/position` : join("/ui/positions", id);
    const [x, y] = [Math.round(place.x), Math.round(place.y)];
    const before = valueAt(changed, pointer);
    if (!isObject(before) || before["x"] !== x || before["y"] !== y) changed = withValue(changed, pointer, { ...(isObject(before) ? before : {}), x, y });
  }
  return changed;
}
