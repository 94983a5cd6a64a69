/** The lanes that end on this server in one run: which of them may be opened, and which have to be. */

import { fromWireLane } from "../codec.js";
import { Code, LanemeshError, refused } from "../errors.js";
import type { LaneOpen } from "../gen/lanemesh/v1/lane_pb.js";
import type { Grow, Place, Edge as WireEdge } from "../gen/lanemesh/v1/node_pb.js";
import type { Edge, Inbox } from "../lanes/inbox.js";
import type { NodeType } from "../node/define.js";
import { hasKey } from "../wire/keys.js";

/** The consumer ends of the lanes of one part of a run. */
export class IncomingLanes {
  readonly #edges = new Map<string, Edge>();
  readonly #accepted = new Set<string>();

  /** `server`: the name of this server, for faults. */
  constructor(
    private readonly place: Place,
    private readonly server: string,
  ) {}

  /** All edges that were added, by id. */
  get edges(): ReadonlyMap<string, Edge> {
    return this.#edges;
  }

  /** Adds the end of an edge to the inbox of its consumer. Throws LanemeshError ("lane-mismatch") if its input is another one. */
  add(edge: WireEdge, type: NodeType, inbox: Inbox): Edge {
    const lane = fromWireLane(edge.laneType);
    const port = type.inputs.get(edge.input);
    if (lane === undefined || port === undefined || port.lane !== lane) {
      throw refused("lane-mismatch", `the edge ${edge.id} does not fit the input "${edge.input}" of ${type.provider}`);
    }
    const limits = [Number(edge.limitItems), Number(edge.limitBytes)] as const;
    const added = inbox.addEdge(edge.id, edge.input, lane, ...limits);
    if (edge.serializeGroups) inbox.port(edge.input).serializeGroups();
    this.#edges.set(edge.id, added);
    return added;
  }

  /** Raises the limits of a lane. Its producer gets further credit. */
  grow(grow: Grow): void {
    this.#edges.get(grow.edgeId)?.grow(Number(grow.limitItems), Number(grow.limitBytes));
  }

  /** The consumer end of an edge that a lane is opened for. Throws LanemeshError if there is none, or it has a lane. */
  accept(open: LaneOpen): Edge {
    if (!hasKey(open, this.place)) {
      const why =
        "it does not carry the key of the run. Only producers that its orchestrator has placed may open its lanes";
      throw refusal(Code.PermissionDenied, "wrong-lane-key", open, why);
    }
    const edge = this.#edges.get(open.edgeId);
    if (edge === undefined) throw refusal(Code.NotFound, "unknown-edge", open, "the run has no such edge here");
    if (fromWireLane(open.laneType) !== edge.lane) {
      const why = `the edge is of type ${edge.lane}, the lane is not`;
      throw refusal(Code.InvalidArgument, "lane-mismatch", open, why);
    }
    if (open.reopen) {
      throw refusal(Code.FailedPrecondition, "not-detached", open, "the edge does not wait for a new lane");
    }
    if (open.resumeFrom !== 0n) {
      throw refusal(Code.FailedPrecondition, "no-resume", open, "the lanes of this edge cannot be resumed");
    }
    if (this.#accepted.has(edge.id)) {
      throw refusal(Code.AlreadyExists, "already-open", open, "the edge has a lane already");
    }
    this.#accepted.add(edge.id);
    return edge;
  }

  /** Faults of the lanes of other servers that were not opened, although every server has connected. `isLocal`: a component is here. */
  unopened(isLocal: (component: string) => boolean): LanemeshError[] {
    const missing = this.place.edges.filter(
      (edge) =>
        this.#edges.has(edge.id) &&
        edge.producerServer !== "" &&
        !isLocal(edge.producer) &&
        !this.#accepted.has(edge.id),
    );
    return missing.map((edge) => {
      const message = `the node server "${edge.producerServer}" has connected, but has not opened the lane ${edge.id}`;
      const details = { server: this.server, lane: edge.id, component: edge.consumer };
      return new LanemeshError({ code: Code.FailedPrecondition, reason: "lane-not-opened", message, details });
    });
  }
}

/** The error of a lane that is refused. */
export function refusal(code: Code, reason: string, open: LaneOpen, why: string): LanemeshError {
  const message = `the lane "${open.edgeId}" of run "${open.runId}" is rejected: ${why}`;
  return new LanemeshError({ code, reason, message, details: { lane: open.edgeId } });
}
