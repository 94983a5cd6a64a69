/**
 * Keys that prove who a peer is: of the lanes of a run, and of a membership.
 *
 * Protos without these fields have no keys: then the server does not report the feature.
 */

import { randomBytes, timingSafeEqual } from "node:crypto";
import type { LaneOpen } from "../gen/lanemesh/v1/lane_pb.js";
import { type Place, PlaceSchema } from "../gen/lanemesh/v1/node_pb.js";
import { RegisterRequestSchema } from "../gen/lanemesh/v1/registry_pb.js";

const hasField = (schema: { fields: { localName: string }[] }, name: string) =>
  schema.fields.some((field) => field.localName === name);

/** The feature of servers whose lanes carry the key of their run. */
export const LANE_KEYS = hasField(PlaceSchema, "laneKey") ? ["lane-keys"] : [];

const MEMBERSHIP_KEYS = hasField(RegisterRequestSchema, "membershipKey");

/** The key of a run's lanes; empty if it has none. */
export function laneKeyOf(message: Place | LaneOpen): Uint8Array {
  return (message as { laneKey?: Uint8Array }).laneKey ?? new Uint8Array();
}

/** The field of `open` with the key of its run. */
export function laneKeyField(key: Uint8Array): object {
  return key.length > 0 ? { laneKey: key } : {};
}

/** Whether a lane may carry items of a run: it has the key of the run, or the run has none. */
export function hasKey(open: LaneOpen, place: Place): boolean {
  const [given, expected] = [laneKeyOf(open), laneKeyOf(place)];
  return expected.length === 0 || (given.length === expected.length && timingSafeEqual(given, expected));
}

/** The field of the first frame of `Register` that proves that further streams are those of this process. */
export function membershipKeyField(): object {
  return MEMBERSHIP_KEYS ? { membershipKey: new Uint8Array(randomBytes(16)) } : {};
}
