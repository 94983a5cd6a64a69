/** The gRPC services of a node server: NodeService and grpc.health.v1. */

import { create } from "@bufbuild/protobuf";
import { ConnectError, type ConnectRouter } from "@connectrpc/connect";
import { Code, LanemeshError, toConnectError } from "../errors.js";
import { Health, HealthCheckResponse_ServingStatus as Status } from "../gen/grpc_health/v1/health_pb.js";
import type { ExchangeRequest, LaneOpen } from "../gen/lanemesh/v1/lane_pb.js";
import { DescribeResponseSchema, type Manifest, NodeService } from "../gen/lanemesh/v1/node_pb.js";
import { exchangeOfBytes } from "../lanes/plain-texts.js";
import { LaneReceiver } from "../lanes/receiver.js";
import { PROTOCOL_VERSION } from "../lanes/sender.js";
import { type Signal, within } from "../signal.js";
import { HostSession, runKey, type SessionHost } from "./host-session.js";
import { refusal } from "./incoming-lanes.js";

/** A new `Exchange` call may take so long to name its lane, in milliseconds. */
const OPEN_MS = 10_000;

/** What the services need of their server. */
export interface ServedHost extends SessionHost {
  readonly manifests: Manifest[];
  readonly instanceId: string;
  readonly version: string;
  /** It takes calls, and is not stopping. */
  readonly serving: boolean;
  /** Fires when `serving` has changed. */
  readonly servingChanged: Signal;
}

/** Adds the services to a router. */
export function addServices(router: ConnectRouter, host: ServedHost): void {
  router.service(NodeService, {
    describe: () =>
      create(DescribeResponseSchema, {
        manifests: host.manifests,
        protocolVersion: PROTOCOL_VERSION,
        softwareVersion: host.version,
        features: [...host.features],
        instanceId: host.instanceId,
      }),
    host: (requests, context) => new HostSession(host).serve(requests, context.signal),
  });
  router.rpc(exchangeOfBytes, (requests, context) => exchange(host, requests, context.signal));
  router.service(Health, {
    check: ({ service }) => ({ status: statusOf(host, service) }),
    async *watch({ service }, { signal }) {
      const onAbort = () => host.servingChanged.fire();
      signal.addEventListener("abort", onAbort);
      while (!signal.aborted) {
        yield { status: host.serving ? Status.SERVING : Status.NOT_SERVING };
        void service;
        await host.servingChanged.wait();
      }
    },
  });
}

function statusOf(host: ServedHost, service: string): Status {
  if (!["", NodeService.typeName, Health.typeName].includes(service)) {
    throw new ConnectError(`there is no service "${service}"`, Code.NotFound);
  }
  return host.serving ? Status.SERVING : Status.NOT_SERVING;
}

async function* exchange(host: ServedHost, requests: AsyncIterable<ExchangeRequest>, signal: AbortSignal) {
  const frames = requests[Symbol.asyncIterator]();
  const opening = frames.next();
  if (!(await within(opening, OPEN_MS))) {
    throw new ConnectError(`no \`open\` arrived within ${OPEN_MS / 1000} s`, Code.DeadlineExceeded);
  }
  const first = (await opening).value as ExchangeRequest | undefined;
  if (first?.frame.case !== "open") {
    throw new ConnectError("the first frame of a lane must be `open`", Code.InvalidArgument);
  }
  const open = first.frame.value;
  const { edge, run } = accept(host, open);
  yield* new LaneReceiver(edge, signal, () => run.cancelling).serve(frames, open.items);
}

/** The consumer end that a lane requests, and its run. */
function accept(host: ServedHost, open: LaneOpen) {
  try {
    const run = host.runs.get(runKey(open.runId, open.incarnation));
    if (run === undefined)
      throw refusal(Code.NotFound, "unknown-run", open, `the run "${open.runId}" is not hosted here`);
    return { edge: run.accept(open), run };
  } catch (error) {
    throw error instanceof LanemeshError ? toConnectError(error) : error;
  }
}
