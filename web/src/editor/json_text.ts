/** The text of a changed document: what has not changed keeps its text, with its layout and the digits of its numbers. */
import { placesOf, type Place } from "../widgets/json_places.ts";
import { join } from "./changes.ts";
import { isObject } from "./pipeline_parts.ts";

const WIDTH = 110;
const STEP = "  ";

/** JSON text: values that fit a line stand on one line. */
export function written(value: unknown, indent = ""): string {
  const flat = flatText(value);
  if (flat.length + indent.length <= WIDTH || typeof value !== "object" || value === null) return flat;
  return block(value as object, indent, (child, inner) => written(child, inner));
}

function flatText(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(flatText).join(", ")}]`;
  if (!isObject(value)) return JSON.stringify(value);
  return `{${Object.entries(value).map(([name, child]) => `${JSON.stringify(name)}: ${flatText(child)}`).join(", ")}}`;
}

function block(value: object, indent: string, child: (value: unknown, indent: string, name: string | number) => string): string {
  const inner = indent + STEP;
  if (Array.isArray(value)) return `[\n${value.map((one, index) => inner + child(one, inner, index)).join(",\n")}\n${indent}]`;
  const lines = Object.entries(value).map(([name, one]) => `${inner}${JSON.stringify(name)}: ${child(one, inner, name)}`);
  return `{\n${lines.join(",\n")}\n${indent}}`;
}

/**
 * @param text The text of `before`.
 * @param after Shares with `before` what has not changed.
 */
export function rewritten(text: string, before: unknown, after: unknown): string {
  const places = placesOf(text);
  const place = places?.get("");
  if (!places || !place) return documentText(after);
  return text.slice(0, place.from) + new Rewriting(text, places).value(before, after, "", "") + text.slice(place.to);
}

/** The text of a whole document: its fields and components each on lines of their own. */
export function documentText(value: unknown): string {
  if (!isObject(value)) return written(value) + "\n";
  return block(value, "", (child, indent, name) =>
    name === "components" && Array.isArray(child) && child.length ? block(child, indent, (one, inner) => written(one, inner)) : written(child, indent),
  ) + "\n";
}

class Rewriting {
  constructor(
    private readonly text: string,
    private readonly places: Map<string, Place>,
  ) {}

  value(before: unknown, after: unknown, pointer: string, indent: string): string {
    const place = this.places.get(pointer);
    if (!place) return written(after, indent);
    const old = this.text.slice(place.from, place.to);
    if (before === after) return old;
    if (Array.isArray(before) && Array.isArray(after)) return this.list(before, after, pointer, indent, old);
    if (isObject(before) && isObject(after)) {
      return this.container(after, indent, old, pointer, (child, inner, name) => this.value(before[name], child, join(pointer, name), inner));
    }
    return written(after, indent);
  }

  /** Items are found again wherever they stand now. */
  private list(before: unknown[], after: unknown[], pointer: string, indent: string, old: string): string {
    const origins = new Map(before.map((one, index) => [one, index]));
    const kept = before.length <= after.length;
    return this.container(after, indent, old, pointer, (child, inner, name) => {
      const index = Number(name);
      const origin = before[index] === child ? index : (origins.get(child) ?? (kept && index < before.length ? index : -1));
      return origin < 0 ? written(child, inner) : this.value(before[origin], child, join(pointer, origin), inner);
    });
  }

  private container(after: object, indent: string, old: string, pointer: string, child: (value: unknown, indent: string, name: string) => string): string {
    const entries = Object.entries(after);
    if (!entries.length) return Array.isArray(after) ? "[]" : "{}";
    const name = (key: string): string => (Array.isArray(after) ? "" : `${JSON.stringify(key)}: `);
    const [open, close] = Array.isArray(after) ? ["[", "]"] : ["{", "}"];
    const lines = old.includes("\n");
    if (!lines && (pointer !== "" || old !== "{}")) {
      const flat = `${open}${entries.map(([key, one]) => name(key) + child(one, indent, key)).join(", ")}${close}`;
      if (flat.length + indent.length <= WIDTH && !flat.includes("\n")) return flat;
    }
    const found = lines ? /^[[{]\s*?\n([ \t]*)/.exec(old)?.[1] : undefined;
    const inner = found !== undefined && found.length > indent.length ? found : indent + STEP;
    const end = lines ? (/\n([ \t]*)[\]}]$/.exec(old)?.[1] ?? indent) : indent;
    return `${open}\n${entries.map(([key, one]) => inner + name(key) + child(one, inner, key)).join(",\n")}\n${end}${close}`;
  }
}
