/** Calls to an orchestrator: its services, and the errors of failed calls. */

import { createClient, type Client as ServiceClient, type Transport } from "@connectrpc/connect";
import { fromCall } from "../errors.js";
import { DeploymentService } from "../gen/lanemesh/v1/deployment_pb.js";
import { RegistryService } from "../gen/lanemesh/v1/registry_pb.js";
import { type RunInput, RunService } from "../gen/lanemesh/v1/run_pb.js";
import { SessionService } from "../gen/lanemesh/v1/session_pb.js";

/** Deadline of a short call, in milliseconds. */
export const CALL_MS = 30_000;

/** The services of one orchestrator. */
export class Calls {
  readonly runs: ServiceClient<typeof RunService>;
  readonly deployments: ServiceClient<typeof DeploymentService>;
  readonly sessions: ServiceClient<typeof SessionService>;
  readonly registry: ServiceClient<typeof RegistryService>;

  constructor(
    transport: Transport,
    /** The orchestrator in errors, such as "the orchestrator at 127.0.0.1:7070". */
    readonly peer: string,
  ) {
    this.runs = createClient(RunService, transport);
    this.deployments = createClient(DeploymentService, transport);
    this.sessions = createClient(SessionService, transport);
    this.registry = createClient(RegistryService, transport);
  }

  /** The response of a short call. Throws LanemeshError if it fails. */
  async short<T>(call: (options: { timeoutMs: number }) => Promise<T>, timeoutMs = CALL_MS): Promise<T> {
    try {
      return await call({ timeoutMs });
    } catch (error) {
      throw fromCall(error, this.peer);
    }
  }

  /** Feeds a run. It has no deadline, because the source may be behind for any time. */
  async push(runId: string, inputs: RunInput[], end: boolean, inputToken = ""): Promise<void> {
    try {
      await this.runs.pushInput({ runId, inputs, end, inputToken });
    } catch (error) {
      throw fromCall(error, this.peer);
    }
  }

  /** Cancels a run; no effect on one that has ended. */
  async cancel(runId: string, reason: string): Promise<void> {
    await this.short((options) => this.runs.cancelRun({ runId, reason }, options));
  }

  /** Decides an approval. */
  async decide(runId: string, callId: string, approved: boolean, reason: string, component: string): Promise<void> {
    await this.short((options) => this.runs.decideApproval({ runId, callId, component, approved, reason }, options));
  }
}
