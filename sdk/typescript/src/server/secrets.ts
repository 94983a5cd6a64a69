/** Secret settings of components, which occur in no report. */

import { LanemeshError } from "../errors.js";
import type { Instance } from "../gen/lanemesh/v1/node_pb.js";
import { type Json, readJson } from "../json.js";

const MASK = "***";

/** Hides secret values in texts. */
export class Secrets {
  readonly #values: string[];

  constructor(values: Iterable<string>) {
    this.#values = [...new Set(values)].filter((value) => value !== "").sort((one, other) => other.length - one.length);
  }

  /** A text without secrets. */
  hide(text: string): string {
    return this.#values.reduce((shown, value) => shown.replaceAll(value, MASK), text);
  }

  /** An error without secrets. */
  hideIn(error: LanemeshError): LanemeshError {
    if (this.#values.length === 0) return error;
    const { code, reason, secondary } = error;
    const details = Object.fromEntries(Object.entries(error.details).map(([key, value]) => [key, this.hide(value)]));
    const [message, traceback] = [this.hide(error.message), this.hide(error.traceback)];
    return new LanemeshError({ code, reason, secondary, details, message, traceback });
  }
}

/** The secret values in the configs of instances. */
export function secretsOf(instances: Instance[]): Secrets {
  const values: string[] = [];
  for (const { configJson, secretPointers } of instances) {
    if (secretPointers.length === 0) continue;
    try {
      const config = readJson(configJson || "{}");
      for (const pointer of secretPointers) values.push(...textsIn(at(config, pointer)));
    } catch {
      // The config is invalid, and refused as such.
    }
  }
  return new Secrets(values);
}

/** The value at a JSON pointer (RFC 6901); undefined if there is none. */
function at(value: Json, pointer: string): Json | undefined {
  let found: Json | undefined = value;
  for (const token of pointer.split("/").slice(1)) {
    if (typeof found !== "object" || found === null) return undefined;
    const key = token.replaceAll("~1", "/").replaceAll("~0", "~");
    found = (found as Record<string, Json>)[key];
  }
  return found;
}

function textsIn(value: Json | undefined): string[] {
  if (value === undefined || value === null) return [];
  if (typeof value !== "object") return [String(value)];
  return Object.values(value).flatMap(textsIn);
}
