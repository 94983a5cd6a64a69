/** The client of an orchestrator behind a proxy that translates gRPC-Web, such as Envoy. */

import { createGrpcWebTransport } from "@connectrpc/connect-web";
import { OrchestratorClient } from "../client/orchestrator.js";
import type { Result } from "../client/reader.js";
import type { Input, Pipeline, RunOptions } from "../client/specs.js";

/**
 * A client over gRPC-Web, which has no stream from the client: runs are detached, and watched.
 *
 * A run that its page leaves continues, unless its caller cancels it.
 */
export class WebClient extends OrchestratorClient {
  /** @param url of the proxy, such as "https://mesh.example.com". `token` is the bearer token of each call. */
  constructor(url: string, { token }: { token?: string } = {}) {
    const transport = createGrpcWebTransport({
      baseUrl: url,
      interceptors: [
        (next) => (request) => {
          if (token !== undefined) request.header.set("authorization", `Bearer ${token}`);
          return next(request);
        },
      ],
    });
    super(transport, `the orchestrator at ${url}`);
  }

  /** Runs a pipeline on one input; returns all that it has delivered. Aborting `signal` cancels the run. */
  async request(
    pipeline: Pipeline,
    input?: Input,
    options: RunOptions & { signal?: AbortSignal } = {},
  ): Promise<Result> {
    const { signal, ...rest } = options;
    const { id } = await this.startRun(pipeline, { ...rest, ...(input !== undefined && { input }) });
    const run = this.watch(id, signal === undefined ? {} : { signal });
    try {
      return await run.result();
    } catch (error) {
      if (signal?.aborted) await run.cancel("its caller has left");
      throw error;
    }
  }
}
