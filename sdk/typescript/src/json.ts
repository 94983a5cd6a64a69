/** JSON as lanes carry it: 64-bit integers are exact, and NaN and infinity do not occur. */

import { LosslessNumber, parse, stringify } from "lossless-json";
import { refused } from "./errors.js";

/** A JSON value. Integers beyond 2^53 are bigint. */
export type Json = null | boolean | number | bigint | string | Json[] | { [key: string]: Json };

/** The deepest nesting of lists and objects in a value. */
export const MAX_JSON_DEPTH = 100;
/** Only a number of so many digits may be an integer that a double does not hold. */
const LONG_NUMBER = /\d{16}/;
const INTEGER = /^-?\d+$/;
const INT_MIN = -(2n ** 63n);
const INT_MAX = 2n ** 63n - 1n;

/** Reads JSON text. Integers that a double does not hold exactly become bigint. Throws SyntaxError. */
export function readJson(text: string): Json {
  if (!LONG_NUMBER.test(text)) return JSON.parse(text) as Json;
  return parse(text, undefined, readNumber) as Json;
}

/**
 * Writes JSON text. Throws LanemeshError ("wrong-type" or "wrong-value") if a lane cannot carry the value.
 *
 * @param where names the place of the value in an error.
 */
export function writeJson(value: unknown, where = "the value"): string {
  return check(value, where, 0) ? (stringify(value, exactly) as string) : JSON.stringify(value);
}

function readNumber(text: string): number | bigint {
  const number = Number(text);
  return INTEGER.test(text) && !Number.isSafeInteger(number) ? BigInt(text) : number;
}

/** A double beyond 2^53 stays one: written without an exponent it would be read as an integer. */
function exactly(_key: string, value: unknown): unknown {
  return isLargeDouble(value) ? new LosslessNumber((value as number).toExponential()) : value;
}

function isLargeDouble(value: unknown): boolean {
  return typeof value === "number" && Number.isInteger(value) && !Number.isSafeInteger(value);
}

/** Checks that a value is JSON; returns whether JSON.stringify would not write it exactly. */
function check(value: unknown, where: string, depth: number): boolean {
  switch (typeof value) {
    case "string":
    case "boolean":
      return false;
    case "bigint":
      if (value < INT_MIN || value > INT_MAX)
        throw refused("wrong-value", `${where}: ${value} does not fit in 64 bits`);
      return true;
    case "number":
      if (!Number.isFinite(value)) throw refused("wrong-value", `${where}: ${value} is not a JSON number`);
      return isLargeDouble(value);
    case "object":
      break;
    default:
      throw refused("wrong-type", `${where}: a value of the type ${typeof value} is not JSON`);
  }
  if (value === null) return false;
  if (depth >= MAX_JSON_DEPTH)
    throw refused("wrong-value", `${where}: it is nested deeper than ${MAX_JSON_DEPTH} levels`);
  let inexact = false;
  if (Array.isArray(value)) {
    for (const element of value) inexact = check(element, where, depth + 1) || inexact;
    return inexact;
  }
  const prototype = Object.getPrototypeOf(value) as unknown;
  if (prototype !== Object.prototype && prototype !== null) {
    const name = value.constructor?.name ?? "object";
    throw refused("wrong-type", `${where}: an object of the class ${name} is not JSON; make a plain object of it`);
  }
  for (const member of Object.values(value)) {
    if (member !== undefined) inexact = check(member, where, depth + 1) || inexact;
  }
  return inexact;
}
