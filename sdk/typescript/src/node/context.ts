/** What the body of a node knows of its run. */

import { LogLevel } from "../gen/lanemesh/v1/update_pb.js";
import type { RunReporter } from "../server/reporter.js";

/** The place of a body in its run: config, cancellation, log and progress. */
export class Context<C = unknown> {
  readonly log: Log;
  readonly #reporter: RunReporter;

  constructor(
    /** The settings of the component, as its schema has parsed them. */
    readonly config: C,
    /** The id of the component in the pipeline. */
    readonly component: string,
    readonly runId: string,
    /** Aborts when the node is to end: the run was cancelled, or no consumer takes its outputs any more. */
    readonly signal: AbortSignal,
    reporter: RunReporter,
    /** The session that the run belongs to; empty: none. */
    readonly sessionId: string,
  ) {
    this.log = new Log(component, reporter);
    this.#reporter = reporter;
  }

  /** Reports progress: the completed amount, the total amount (0 if unknown), and the current activity in words. */
  progress(done: number, total = 0, message = ""): void {
    this.#reporter.progress(this.component, done, total, message);
  }
}

/** The log of a component; its lines are updates of the run. */
export class Log {
  constructor(
    private readonly component: string,
    private readonly reporter: RunReporter,
  ) {}

  /** For developers of the node. */
  debug(message: string): void {
    this.reporter.log(this.component, LogLevel.DEBUG, message);
  }

  /** For operators. */
  info(message: string): void {
    this.reporter.log(this.component, LogLevel.INFO, message);
  }

  /** Something is unexpected, and the run continues. */
  warning(message: string): void {
    this.reporter.log(this.component, LogLevel.WARNING, message);
  }

  /** Something failed. */
  error(message: string): void {
    this.reporter.log(this.component, LogLevel.ERROR, message);
  }
}
