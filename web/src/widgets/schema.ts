/** JSON Schemas of configs, in words. */
import type { JsonSchema } from "../app/catalogue.ts";

/** The schema that a reference names, within its root. */
export function resolved(schema: JsonSchema, root: JsonSchema): JsonSchema {
  const reference = schema["$ref"];
  if (typeof reference !== "string" || !reference.startsWith("#/")) return schema;
  let found: unknown = root;
  for (const part of reference.slice(2).split("/")) found = (found as Record<string, unknown> | undefined)?.[part];
  return typeof found === "object" && found !== null ? (found as JsonSchema) : schema;
}

/** The type of a value: "text", "integer or none", "list of text". */
export function schemaType(given: JsonSchema, root: JsonSchema, depth = 0): string {
  const schema = resolved(given, root);
  if (schema.enum) return schema.enum.map((one) => JSON.stringify(one)).join(" | ");
  if (schema["const"] !== undefined) return JSON.stringify(schema["const"]);
  const choices = (schema["anyOf"] ?? schema["oneOf"]) as JsonSchema[] | undefined;
  if (choices) return [...new Set(choices.map((one) => schemaType(one, root, depth + 1)))].join(" or ");
  const type = Array.isArray(schema.type) ? schema.type.join(" or ") : schema.type;
  if (type === "array") return depth < 3 && schema.items ? `list of ${schemaType(schema.items, root, depth + 1)}` : "list";
  return { string: "text", null: "none", boolean: "true or false" }[type ?? ""] ?? type ?? "any value";
}
