/** The settings of an instance that an orchestrator places: its config, and when its node fires. */

import { durationMs } from "@bufbuild/protobuf/wkt";
import { ZodError } from "zod";
import { Code, LanemeshError, refused } from "../errors.js";
import { type Instance, Isolation, OnError_Policy, SyncMode } from "../gen/lanemesh/v1/node_pb.js";
import { readJson } from "../json.js";
import type { NodeType } from "../node/define.js";
import type { FiringRules } from "../node/rules.js";

/** The config of an instance. Throws LanemeshError ("bad-config"), which quotes no values, since they may be secret. */
export function configOf(type: NodeType, instance: Instance): unknown {
  try {
    return type.parseConfig(readJson(instance.configJson || "{}"));
  } catch (error) {
    if (!(error instanceof ZodError)) throw error;
    const problems = error.issues
      .slice(0, 10)
      .map((issue) => `${["config", ...issue.path].join(".")}: ${issue.message}`);
    throw refused("bad-config", `${instance.component}: ${problems.join("; ")}`);
  }
}

/** Throws LanemeshError if an instance has a setting that this server lacks ("missing-feature") or its node type cannot have. */
export function checkSettings(type: NodeType, instance: Instance): void {
  const lacking = [
    instance.syncMode === SyncMode.JOIN && "sync_mode join",
    instance.isolation === Isolation.PROCESS && "isolation process",
    instance.helper && "helper",
  ].filter(Boolean);
  if (lacking.length > 0) {
    const message = `${instance.component}: this server does not support ${lacking.join(" and ")}`;
    throw new LanemeshError({ code: Code.Unimplemented, reason: "missing-feature", message });
  }
  const policy = instance.onError?.policy ?? OnError_Policy.UNSPECIFIED;
  if (type.kind === "run" && policy !== OnError_Policy.UNSPECIFIED) {
    const message = `${instance.component}: on_error needs firings, and ${type.provider} reads its inputs itself`;
    throw refused("bad-value", message);
  }
}

/** The firing settings of an instance, by its document and its node type. */
export function rulesOf(type: NodeType, instance: Instance): FiringRules {
  const given = instance.onError;
  let onError: FiringRules["onError"] = { policy: "fail" };
  if (given?.policy === OnError_Policy.SKIP) onError = { policy: "skip" };
  if (given?.policy === OnError_Policy.RETRY) {
    const backoffMs = given.backoff === undefined ? 0 : durationMs(given.backoff);
    onError = { policy: "retry", attempts: Math.max(1, given.attempts), backoffMs };
  }
  const modes: Partial<Record<SyncMode, FiringRules["syncMode"]>> = {
    [SyncMode.ON_ANY]: "on_any",
    [SyncMode.ZIP_ALL]: "zip_all",
  };
  return {
    syncMode: modes[instance.syncMode] ?? type.syncMode,
    singleInputs: new Set(instance.singleItemInputs),
    onError,
    timeoutMs: instance.timeout === undefined ? undefined : durationMs(instance.timeout),
    concurrency: Math.max(1, instance.concurrency),
  };
}
