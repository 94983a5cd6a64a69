/** What every client of an orchestrator can do, over whatever transport. */

import type { Transport } from "@connectrpc/connect";
import { LanemeshError } from "../errors.js";
import type { Deployment } from "../gen/lanemesh/v1/deployment_pb.js";
import type { Manifest } from "../gen/lanemesh/v1/node_pb.js";
import type { NodeServer } from "../gen/lanemesh/v1/registry_pb.js";
import { type PipelineFault, type RunRecord, Severity } from "../gen/lanemesh/v1/run_pb.js";
import type { RunState } from "../gen/lanemesh/v1/update_pb.js";
import { Calls } from "./calls.js";
import { DetachedRun, type WatchOptions } from "./detached.js";
import { Sessions } from "./sessions.js";
import { allInputs, type Pipeline, type RunInputs, type RunOptions, runInput, runSpec } from "./specs.js";

/** How long a deployment may take to become ready, in milliseconds. */
const DEPLOY_MS = 600_000;

/** The error of an invalid pipeline: every fault of it. */
export class PipelineInvalid extends LanemeshError {
  constructor(
    cause: LanemeshError,
    /** Every fault, with its place in the document and a hint. */
    readonly faults: readonly PipelineFault[],
  ) {
    const shown = faults.map(
      (fault) => `${fault.pointer || "/"}: ${fault.message}${fault.hint ? ` (${fault.hint})` : ""}`,
    );
    const message = [`the pipeline has ${faults.length} fault(s):`, ...shown].join("\n");
    super({ code: cause.code, reason: cause.reason, message, details: { ...cause.details } }, { cause });
  }
}

/** Starts and watches runs, and manages what an orchestrator keeps. Base of the clients. */
export class OrchestratorClient {
  /** Conversations that the orchestrator keeps. */
  readonly sessions: Sessions;
  protected readonly calls: Calls;

  constructor(transport: Transport, peer: string) {
    this.calls = new Calls(transport, peer);
    this.sessions = new Sessions(this.calls);
  }

  /**
   * Starts a run that continues without its caller.
   *
   * @param idempotencyKey a further call with the same key returns the run that the first one has started.
   */
  async startRun(
    pipeline: Pipeline,
    options: RunOptions & RunInputs & { idempotencyKey?: string } = {},
  ): Promise<DetachedRun> {
    const spec = runSpec(pipeline, options);
    if (options.idempotencyKey !== undefined) spec.idempotencyKey = options.idempotencyKey;
    const inputs = [];
    for await (const input of allInputs(options)) inputs.push(runInput(input));
    const request = { spec, inputs, openInput: options.open ?? false };
    try {
      const { runId } = await this.calls.short((call) => this.calls.runs.startRun(request, call));
      return new DetachedRun(runId, this.calls);
    } catch (error) {
      throw await this.withFaults(error, pipeline, options);
    }
  }

  /** A run that was started by `startRun`, or any run to watch. Does not check that it exists. */
  watch(runId: string, options: WatchOptions = {}): DetachedRun {
    return new DetachedRun(runId, this.calls, options);
  }

  /** Every fault of a pipeline; empty if it is valid and all its node types are available. */
  async validate(pipeline: Pipeline, options: RunOptions = {}): Promise<PipelineFault[]> {
    const spec = runSpec(pipeline, options);
    return (await this.calls.short((call) => this.calls.runs.validatePipeline({ spec }, call))).faults;
  }

  /** The record of a run, active or ended. */
  async getRun(runId: string): Promise<RunRecord> {
    const { run } = await this.calls.short((call) => this.calls.runs.getRun({ runId }, call));
    return run as RunRecord;
  }

  /** Runs, the latest first. */
  async *listRuns(filter: { states?: RunState[]; deployment?: string } = {}): AsyncGenerator<RunRecord, void> {
    let pageToken = "";
    do {
      const request = { ...filter, pageToken };
      const page = await this.calls.short((call) => this.calls.runs.listRuns(request, call));
      yield* page.runs;
      pageToken = page.nextPageToken;
    } while (pageToken !== "");
  }

  /** Makes a pipeline ready under a name, and replaces the previous version. */
  async deploy(name: string, pipeline: Pipeline, options: RunOptions = {}): Promise<Deployment> {
    const request = { name, spec: runSpec(pipeline, options) };
    try {
      const response = await this.calls.short((call) => this.calls.deployments.deploy(request, call), DEPLOY_MS);
      return response.deployment as Deployment;
    } catch (error) {
      throw await this.withFaults(error, pipeline, options);
    }
  }

  /** The deployed pipelines, in alphabetical order. */
  async listDeployments(): Promise<Deployment[]> {
    return (await this.calls.short((call) => this.calls.deployments.listDeployments({}, call))).deployments;
  }

  /** Removes a deployed pipeline. Its active runs continue to their end. */
  async undeploy(name: string): Promise<void> {
    await this.calls.short((call) => this.calls.deployments.undeploy({ name }, call));
  }

  /** The node types of all servers. */
  async listNodeTypes(): Promise<Manifest[]> {
    return (await this.calls.short((call) => this.calls.registry.listNodeTypes({}, call))).manifests;
  }

  /** The node servers of the mesh. */
  async listNodeServers(): Promise<NodeServer[]> {
    return (await this.calls.short((call) => this.calls.registry.listNodeServers({}, call))).servers;
  }

  /** The error of a call; for an invalid pipeline one with every fault, because the status of a call carries few. */
  protected async withFaults(error: unknown, pipeline: Pipeline, options: RunOptions): Promise<unknown> {
    if (!(error instanceof LanemeshError) || error.reason !== "pipeline-invalid") return error;
    try {
      const faults = await this.validate(pipeline, options);
      const errors = faults.filter((fault) => fault.severity === Severity.ERROR);
      return errors.length > 0 ? new PipelineInvalid(error, errors) : error;
    } catch {
      return error;
    }
  }
}
