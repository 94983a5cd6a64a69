/** The field of a form that a JSON Schema asks for. */
import type { JsonSchema } from "../app/catalogue.ts";
import { resolved } from "../widgets/schema.ts";

export type FieldKind = "text" | "secret" | "number" | "boolean" | "enum" | "list" | "object" | "json";

export interface Field {
  kind: FieldKind;
  /** The schema of the value, without "or none". */
  schema: JsonSchema;
  options: unknown[];
  /** Of a list: the field of an item. */
  item?: Field;
}

const SIMPLE: readonly FieldKind[] = ["text", "secret", "number", "boolean", "enum"];

/** @param value The present value: of several types the one that it has is taken. */
export function fieldOf(given: JsonSchema, root: JsonSchema, value: unknown, depth = 0): Field {
  const schema = resolved(given, root);
  const plain = (kind: FieldKind): Field => ({ kind, schema, options: [] });
  if (depth > 6) return plain("json");
  if (schema["const"] !== undefined) return { kind: "enum", schema, options: [schema["const"]] };
  if (schema.enum) return { kind: "enum", schema, options: schema.enum.filter((one) => one !== null) };
  const choices = (schema["anyOf"] ?? schema["oneOf"] ?? schema["allOf"]) as JsonSchema[] | undefined;
  if (Array.isArray(choices)) {
    const fields = choices.filter((one) => resolved(one, root).type !== "null").map((one) => fieldOf(one, root, value, depth + 1));
    const suited = fields.find((one) => value !== undefined && takes(one, value)) ?? fields.find((one) => value === undefined || SIMPLE.includes(one.kind));
    const secret = isSecret(schema) || fields.some((one) => one.kind === "secret");
    if (!suited || (value !== undefined && !fields.some((one) => takes(one, value)) && typeof value === "object")) return plain("json");
    return secret && suited.kind === "text" ? { ...suited, kind: "secret" } : suited;
  }
  const types = Array.isArray(schema.type) ? schema.type.filter((one) => one !== "null") : [schema.type];
  const type = types.length === 1 ? types[0] : undefined;
  switch (type) {
    case "string":
      return plain(isSecret(schema) ? "secret" : "text");
    case "number":
    case "integer":
      return plain("number");
    case "boolean":
      return plain("boolean");
    case "array": {
      const item = schema.items ? fieldOf(schema.items, root, undefined, depth + 1) : undefined;
      const fits = item && SIMPLE.includes(item.kind) && (value === undefined || Array.isArray(value));
      return fits ? { ...plain("list"), item } : plain("json");
    }
    case "object": {
      const fits = schema.properties && (value === undefined || takes(plain("object"), value));
      return plain(fits ? "object" : "json");
    }
  }
  return plain("json");
}

const isSecret = (schema: JsonSchema): boolean => schema["format"] === "password" || schema["writeOnly"] === true;

function takes(field: Field, value: unknown): boolean {
  switch (field.kind) {
    case "text":
    case "secret":
      return typeof value === "string";
    case "number":
      return typeof value === "number";
    case "boolean":
      return typeof value === "boolean";
    case "enum":
      return field.options.includes(value);
    case "list":
      return Array.isArray(value);
    case "object":
      return typeof value === "object" && value !== null && !Array.isArray(value);
    case "json":
      return false;
  }
}

/** The value that a text means in a field of numbers: a number if it is one, else the text, in which the gateway then finds the fault. */
export function numberOf(text: string): number | string | undefined {
  const trimmed = text.trim();
  if (!trimmed) return undefined;
  const number = Number(trimmed);
  return Number.isFinite(number) ? number : trimmed;
}

/** A default in words; empty if there is none. */
export function defaultWords(schema: JsonSchema): string {
  const { default: value } = schema;
  if (value === undefined || value === null || value === "" || (Array.isArray(value) && !value.length)) return "";
  const text = typeof value === "string" ? value : JSON.stringify(value);
  return text.length > 60 ? text.slice(0, 59) + "…" : text;
}
