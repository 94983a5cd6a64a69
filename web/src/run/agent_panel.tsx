/** Thoughts, calls of tools with their results, and approvals, in order. */
import { useState } from "preact/hooks";
import { count } from "../app/format.ts";
import { ApprovalCard } from "../widgets/approval_card.tsx";
import { Empty } from "../widgets/empty.tsx";
import { Thought, ToolCard } from "../widgets/tool_card.tsx";
import { approvalKey, type RunModel } from "./run_model.ts";
import { useTick } from "./run_store.ts";

const SHOWN = 60;

export function AgentPanel({ model }: { model: RunModel }) {
  useTick(model);
  const [all, setAll] = useState(false);
  const events = model.tools.all();
  const shown = all ? events : events.slice(-SHOWN);
  const decided = [...model.approvals.values()].filter((one) => one.state !== "requested" || model.ended);
  if (!events.length && !decided.length) return <Empty title="No agent has called a tool" />;
  const agents = new Set(events.map((one) => one.component)).size;
  return (
    <div class="stack narrow">
      {decided.map((approval) => (
        <ApprovalCard key={approvalKey(approval)} runId={model.id} approval={approval} ended={model.ended} />
      ))}
      {events.length > shown.length && (
        <button class="button small" onClick={() => setAll(true)}>
          Show {count(events.length - shown.length)} earlier
        </button>
      )}
      {shown.map((event) => {
        const who = agents > 1 ? event.component : "";
        return event.kind === "thought" ? (
          <Thought key={event.key} text={event.text} who={who} />
        ) : (
          <ToolCard key={event.key} call={event} revision={event.revision} who={`${who ? who + " · " : ""}round ${event.wave}`} active={!model.ended} />
        );
      })}
    </div>
  );
}
