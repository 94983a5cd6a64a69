/** The turns of a conversation. The end stays in view while an answer grows, unless the reader has scrolled up. */
import { useEffect, useRef, useState } from "preact/hooks";
import { Icon } from "../app/icons.tsx";
import { notifyError } from "../app/notices.tsx";
import { href } from "../app/router.ts";
import { Loading } from "../widgets/empty.tsx";
import { ErrorLine } from "../widgets/fault_box.tsx";
import { Answer } from "./answer.tsx";
import type { Chat, Turn } from "./chat.ts";
import type { Message } from "./intake.ts";
import { Question } from "./question.tsx";
import type { Partner } from "./view.tsx";

/** Turns that are drawn; a button shows the others. */
const SHOWN = 50;
/** So near to its end, in pixels, the conversation is held at it. */
const NEAR = 80;

export function Conversation({ chat, partner }: { chat: Chat; partner: Partner }) {
  const turns = chat.turns.value;
  const [all, setAll] = useState(false);
  const { scroller, content, away, toEnd } = useHeldEnd(turns.length);
  const askAgain = (turn: Turn, message: Message): void => void chat.askAgain(turn, message, partner.intake).catch(notifyError);
  const shown = all ? turns : turns.slice(-SHOWN);
  return (
    <div class="chat-scroll" ref={scroller} tabIndex={0} role="region" aria-label="Turns">
      <div class="chat-turns" ref={content}>
        {chat.loading.value && <Loading />}
        {chat.error.value && <NotFound chat={chat} />}
        {!turns.length && !chat.loading.value && !chat.error.value && <Welcome partner={partner} />}
        {turns.length > shown.length && (
          <button type="button" class="button small" onClick={() => setAll(true)}>
            Show {turns.length - shown.length} earlier
          </button>
        )}
        {shown.map((turn) => (
          <div key={turn.key} class="turn">
            <Question message={turn.message} onEdited={turn.runId.value || turn.error.value ? (message) => askAgain(turn, message) : undefined} />
            <Answer turn={turn} onAgain={() => askAgain(turn, turn.message)} />
          </div>
        ))}
      </div>
      {away && (
        <button type="button" class="button to-end" onClick={toEnd}>
          <Icon name="chevron" size={16} />
          To the end
        </button>
      )}
    </div>
  );
}

function useHeldEnd(count: number) {
  const scroller = useRef<HTMLDivElement>(null);
  const content = useRef<HTMLDivElement>(null);
  const held = useRef(true);
  const [away, setAway] = useState(false);
  const toEnd = (): void => {
    held.current = true;
    scroller.current?.scrollTo({ top: scroller.current.scrollHeight });
  };
  useEffect(() => {
    const box = scroller.current!;
    const onScroll = (): void => {
      held.current = box.scrollHeight - box.scrollTop - box.clientHeight < NEAR;
      setAway(!held.current);
    };
    const grown = new ResizeObserver(() => held.current && toEnd());
    grown.observe(content.current!);
    grown.observe(box);
    box.addEventListener("scroll", onScroll, { passive: true });
    return () => (grown.disconnect(), box.removeEventListener("scroll", onScroll));
  }, []);
  useEffect(toEnd, [count]);
  return { scroller, content, away, toEnd };
}

const LIST = new Intl.ListFormat("en");

function Welcome({ partner }: { partner: Partner }) {
  const { deployment, intake } = partner;
  const images = intake.images && (intake.questions ? "images if its model reads them" : "images");
  const takes = LIST.format([intake.text && "text files", intake.audio && "audio", images].filter((kind) => kind !== false));
  return (
    <div class="welcome">
      <h2>{deployment.pipeline?.name || deployment.name}</h2>
      {deployment.pipeline?.description && <p class="soft">{deployment.pipeline.description}</p>}
      {takes && <p class="faint">Takes {takes}: drop, paste or choose them.</p>}
    </div>
  );
}

function NotFound({ chat }: { chat: Chat }) {
  const error = chat.error.value!;
  return (
    <div class="stack">
      <ErrorLine error={{ message: error.message }} />
      <p class="row">
        {error.status === 404 ? (
          <a class="button" href={href("chat", chat.deployment)}>
            Begin another conversation
          </a>
        ) : (
          <button type="button" class="button" onClick={() => void chat.load()}>
            Load again
          </button>
        )}
      </p>
    </div>
  );
}
