/** The firing settings of one component in a run. */

/** The firing settings of a component. */
export interface FiringRules {
  syncMode: "on_any" | "zip_all";
  /** Inputs that get one item, which `zip_all` reuses. */
  singleInputs: ReadonlySet<string>;
  /** What follows a failed firing. */
  onError: { policy: "fail" | "skip" } | { policy: "retry"; attempts: number; backoffMs: number };
  /** Time limit of one firing, or of `run`, in milliseconds. */
  timeoutMs: number | undefined;
  /** The most firings at once. */
  concurrency: number;
}
