/** The client of an orchestrator over gRPC. */

import { Connection } from "../wire/connection.js";
import { type Security, securityFromEnvironment } from "../wire/security.js";
import { OrchestratorClient } from "./orchestrator.js";
import type { Result } from "./reader.js";
import { Run } from "./run.js";
import { allInputs, type Input, type Pipeline, type RunInputs, type RunOptions, runSpec } from "./specs.js";

/** A client of an orchestrator. It connects with its first call, and again after the connection broke. */
export class Client extends OrchestratorClient implements AsyncDisposable {
  readonly #connection: Connection;

  /**
   * A client that has not connected yet.
   *
   * @param address "host:port" of `lanemesh serve`.
   * @param security TLS and token; absent: those of the environment (LANEMESH_TLS_CA, LANEMESH_TOKEN and others).
   */
  constructor(
    readonly address: string,
    security: Security = {},
  ) {
    const connection = new Connection(address, { ...securityFromEnvironment(), ...security });
    super(connection.transport, `the orchestrator at ${address}`);
    this.#connection = connection;
  }

  /** Runs a pipeline for the caller, who owns the run and reads it. Aborting `signal` cancels it. */
  run(pipeline: Pipeline, options: RunOptions & RunInputs & { signal?: AbortSignal } = {}): Run {
    return new Run(this.calls, runSpec(pipeline, options), allInputs(options), options.open ?? false, options.signal);
  }

  /**
   * Runs a pipeline on one input; returns all that it has delivered. A caller that aborts `signal` cancels the run.
   *
   * Throws PipelineInvalid with every fault of an invalid pipeline, or LanemeshError if the run fails.
   */
  async request(
    pipeline: Pipeline,
    input?: Input,
    options: RunOptions & { signal?: AbortSignal } = {},
  ): Promise<Result> {
    const run = this.run(pipeline, { ...options, ...(input !== undefined && { input }) });
    try {
      return await run.result();
    } catch (error) {
      throw await this.withFaults(error, pipeline, options);
    }
  }

  /** Ends the connection. Runs that this client owns are cancelled. */
  close(): void {
    this.#connection.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
  }
}
