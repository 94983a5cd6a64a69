/** The state of a run, a node, a deployment or a server: a word with a colour. */
export type Look = "running" | "done" | "failed" | "waiting" | "idle";

const LOOKS: Record<string, Look> = {
  starting: "running",
  running: "running",
  waiting: "waiting",
  completed: "done",
  skipped: "idle",
  failed: "failed",
  cancelled: "idle",
  ready: "done",
  warming: "running",
  degraded: "failed",
  superseded: "idle",
  serving: "done",
  draining: "waiting",
  unreachable: "failed",
  held: "running",
  yielded: "idle",
  resuming: "waiting",
};

export const lookOf = (state: string): Look => LOOKS[state] ?? "idle";

export function StateBadge({ state }: { state: string }) {
  const look = lookOf(state);
  return (
    <span class={`badge ${look}`}>
      <span class={`dot ${look}`} aria-hidden="true" />
      {state}
    </span>
  );
}
