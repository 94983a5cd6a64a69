/** What the body of a node has returned or yielded. */

import { Code, LanemeshError } from "../errors.js";
import type { NodeType, OutputValues } from "./define.js";

/** The values that a body has returned or yielded, by output. Throws LanemeshError if it is no object of outputs. */
export function entriesOf(
  type: NodeType,
  result: OutputValues<Record<string, never>> | undefined | void,
): [string, unknown][] {
  if (result === undefined || result === null) return [];
  if (typeof result !== "object") {
    const known = [...type.outputs.keys()].join(", ") || "none";
    throw new LanemeshError({
      code: Code.InvalidArgument,
      reason: "bad-result",
      message: `${type.kind} of ${type.provider} gave a ${typeof result}; give an object of values by output (${known})`,
    });
  }
  const entries: [string, unknown][] = [];
  for (const port in result) if (result[port] !== undefined) entries.push([port, result[port]]);
  return entries;
}
