/** A call that waits for a person's decision, or was decided. */
import { useState } from "preact/hooks";
import { api, ApiError } from "../app/api.ts";
import { clock } from "../app/format.ts";
import { Icon } from "../app/icons.tsx";
import { notifyError } from "../app/notices.tsx";
import type { Approval } from "../app/types.ts";
import { JsonTree } from "./json_tree.tsx";

const WORDS = { requested: "waits for you", approved: "approved", refused: "refused", withdrawn: "withdrawn" } as const;
const LOOKS = { requested: "waiting", approved: "done", refused: "failed", withdrawn: "idle" } as const;

/** `ended`: the run is over, so that nothing can be decided. */
export function ApprovalCard({ runId, approval, ended = false }: { runId: string; approval: Approval; ended?: boolean }) {
  const [reason, setReason] = useState("");
  const [sent, setSent] = useState(false);
  const open = approval.state === "requested" && !ended;
  const decide = async (approved: boolean): Promise<void> => {
    setSent(true);
    try {
      await api.decide(runId, approval.call_id, { approved, component: approval.component, ...(reason ? { reason } : {}) });
    } catch (error) {
      setSent(false);
      if (!(error instanceof ApiError && error.reason === "approval-decided")) notifyError(error);
    }
  };
  return (
    <article class={`card approval ${LOOKS[approval.state]}`} aria-label={`Approval of ${approval.tool || approval.call_id}`}>
      <header>
        <Icon name="hand" size={18} />
        <strong>{approval.description || `${approval.component} wants to call ${approval.tool}`}</strong>
        <span class={`badge ${LOOKS[approval.state]}`}>{WORDS[approval.state]}</span>
      </header>
      {approval.tool && (
        <p class="soft">
          {approval.component} wants to call <code>{approval.tool}</code>
        </p>
      )}
      {approval.arguments !== undefined && <JsonTree value={approval.arguments} />}
      {open && (
        <div class="row">
          <button type="button" class="button primary" disabled={sent} onClick={() => void decide(true)}>
            <Icon name="check" size={16} />
            Approve
          </button>
          <button type="button" class="button danger" disabled={sent} onClick={() => void decide(false)}>
            Refuse
          </button>
          <label class="grow">
            <span class="hidden-visually">Reason of a refusal</span>
            <input placeholder="Reason, if you refuse" value={reason} onInput={(event) => setReason(event.currentTarget.value)} />
          </label>
        </div>
      )}
      {open && approval.deadline && <p class="faint">Refused at {clock(approval.deadline)} without a decision</p>}
      {approval.reason && <p class="soft">{approval.reason}</p>}
    </article>
  );
}
