/** The conversations over a pipeline, the last used first. */
import { useEffect, useState } from "preact/hooks";
import { ago } from "../app/format.ts";
import { Icon } from "../app/icons.tsx";
import { notifyError } from "../app/notices.tsx";
import type { Resource } from "../app/resource.ts";
import { go, href } from "../app/router.ts";
import { ErrorLine } from "../widgets/fault_box.tsx";
import { MOST_SESSIONS, sessions, type Session } from "./sessions.ts";

interface SessionListProps {
  deployment: string;
  current: string;
  found: Resource<{ sessions: Session[] }>;
  /** A conversation was opened. */
  onOpen?(): void;
}

export function SessionList({ deployment, current, found, onOpen }: SessionListProps) {
  const list = found.value?.sessions ?? [];
  return (
    <div class="sessions">
      <a class="button new-chat" href={href("chat", deployment)} onClick={onOpen}>
        <Icon name="plus" size={16} />
        New conversation
      </a>
      <ErrorLine error={found.error} />
      {found.value && !list.length && <p class="faint sessions-empty">Conversations appear here. The mesh keeps them.</p>}
      <ul aria-label="Conversations">
        {list.map((one) => (
          <SessionEntry key={one.id} session={one} current={one.id === current} onChange={found.reload} {...(onOpen ? { onOpen } : {})} />
        ))}
      </ul>
      {list.length >= MOST_SESSIONS && <p class="faint sessions-empty">The last {MOST_SESSIONS} are shown.</p>}
    </div>
  );
}

function SessionEntry({ session, current, onChange, onOpen }: { session: Session; current: boolean; onChange(): void; onOpen?(): void }) {
  const [asked, setAsked] = useState(false);
  useEffect(() => {
    if (!asked) return;
    const timer = setTimeout(() => setAsked(false), 5_000);
    return () => clearTimeout(timer);
  }, [asked]);
  const remove = async (): Promise<void> => {
    try {
      await sessions.delete(session.id);
      if (current) go("chat", session.deployment);
      onChange();
    } catch (error) {
      notifyError(error);
    }
  };
  const title = session.title || "Without words";
  return (
    <li class={current ? "session current" : "session"}>
      <a href={href("chat", session.deployment, session.id)} aria-current={current ? "page" : undefined} onClick={onOpen}>
        <span class="ellipsis">{title}</span>
        <span class="faint number">{ago(session.used_at)}</span>
      </a>
      {asked ? (
        <button type="button" class="button danger small" aria-label={`Delete ${title} for good`} onClick={() => void remove()}>
          Delete
        </button>
      ) : (
        <button type="button" class="button quiet icon-only small" aria-label={`Delete ${title}`} title="Delete" onClick={() => setAsked(true)}>
          <Icon name="trash" size={15} />
        </button>
      )}
    </li>
  );
}
