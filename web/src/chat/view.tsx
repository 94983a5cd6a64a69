/** Chat with a deployed pipeline: conversations at the side, the turns of one, and a field for the next. */
import { useEffect, useRef, useState } from "preact/hooks";
import { api } from "../app/api.ts";
import type { Deployment } from "../app/catalogue.ts";
import { Icon } from "../app/icons.tsx";
import { notifyError } from "../app/notices.tsx";
import { useResource } from "../app/resource.ts";
import { go, href, replace } from "../app/router.ts";
import { useShortcuts } from "../app/shortcuts.tsx";
import { Empty, Loading } from "../widgets/empty.tsx";
import { ErrorLine } from "../widgets/fault_box.tsx";
import { Chat, sessionsChanged } from "./chat.ts";
import "./chat.css";
import { Composer } from "./composer.tsx";
import { Conversation } from "./conversation.tsx";
import { intakeOf, type Intake, type Message } from "./intake.ts";
import { SessionList } from "./session_list.tsx";
import { sessions } from "./sessions.ts";

const RELOAD = 10_000;
const LAST = "lanemesh-chat";

export interface Partner {
  deployment: Deployment;
  intake: Intake;
}

export function ChatView({ parts }: { parts: string[] }) {
  const [name = "", id = ""] = parts;
  const found = useResource(partners, [], 0);
  const list = found.value ?? [];
  const partner = list.find((one) => one.deployment.name === name);
  useEffect(() => {
    if (name || !list.length) return;
    const last = list.find((one) => one.deployment.name === lastUsed()) ?? list[0]!;
    replace("chat", last.deployment.name);
  }, [name, found.value]);
  useEffect(() => {
    if (partner) remember(name);
  }, [partner, name]);
  if (partner) return <ChatPage key={name} partners={list} partner={partner} id={id} />;
  return (
    <div class="page">
      <h1>Chat</h1>
      <ErrorLine error={found.error} />
      {found.error && (
        <p>
          <button type="button" class="button" onClick={found.reload}>
            Load again
          </button>
        </p>
      )}
      {!found.value && !found.error && <Loading />}
      {found.value && !name && !list.length && (
        <Empty title="No deployed pipeline takes questions">
          <p>
            Deploy one with a <code>chat</code> source, such as <code>examples/chat.pipe</code>, on the page{" "}
            <a href={href("deployments")}>Deployments</a>.
          </p>
        </Empty>
      )}
      {found.value && name && (
        <Empty title={`There is no chat with @${name}`}>
          <p>It is not deployed, or it has no source that takes a question, a text or audio.</p>
          {list.length > 0 && (
            <p>
              <a href={href("chat")}>Chat with another pipeline</a>
            </p>
          )}
        </Empty>
      )}
    </div>
  );
}

/** The deployed pipelines that a person can talk to. */
async function partners(abort: AbortSignal): Promise<Partner[]> {
  const [{ deployments }, { node_types: types }] = await Promise.all([api.deployments(abort), api.nodeTypes(abort)]);
  const whole = await Promise.allSettled(deployments.map((one) => api.deployment(one.name)));
  return whole.flatMap((one) => {
    const intake = one.status === "fulfilled" && one.value.pipeline ? intakeOf(one.value.pipeline, types) : undefined;
    return one.status === "fulfilled" && intake ? [{ deployment: one.value, intake }] : [];
  });
}

function ChatPage({ partners, partner, id }: { partners: Partner[]; partner: Partner; id: string }) {
  const { intake } = partner;
  const name = partner.deployment.name;
  const chat = useChat(name, id);
  const found = useResource((abort) => sessions.list(name, abort), [name], RELOAD);
  const drawer = useRef<HTMLDialogElement>(null);
  const [drawerOpen, setDrawerOpen] = useState(false);
  const [over, setOver] = useState(0);
  const [dropped, setDropped] = useState<{ files: File[] }>();
  const active = Boolean(chat.active);
  useEffect(() => sessionsChanged.subscribe(() => found.reload()), [name]);

  const stop = (): void => void chat.stop().catch(notifyError);
  const send = (message: Message): void => void chat.ask(message, intake);
  useEffect(() => {
    const onKey = (event: KeyboardEvent): void => {
      if (event.key === "Escape" && chat.active && !document.querySelector("dialog[open]")) stop();
    };
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  }, [chat]);
  useShortcuts([{ keys: "n", label: "New conversation", run: () => go("chat", name) }], [name]);

  const list = (onOpen?: () => void) => (
    <>
      <label class="chat-partner">
        <span class="label">Pipeline</span>
        <select value={name} onChange={(event) => (onOpen?.(), go("chat", event.currentTarget.value))}>
          {partners.map((one) => (
            <option key={one.deployment.name} value={one.deployment.name}>
              @{one.deployment.name}
            </option>
          ))}
        </select>
      </label>
      <SessionList deployment={name} current={chat.id} found={found} {...(onOpen ? { onOpen } : {})} />
    </>
  );
  const title = found.value?.sessions.find((one) => one.id === chat.id)?.title;
  return (
    <div
      class={over > 0 ? "chat over" : "chat"}
      onDragEnter={(event) => hasFiles(event) && setOver((depth) => depth + 1)}
      onDragLeave={(event) => hasFiles(event) && setOver((depth) => Math.max(0, depth - 1))}
      onDragOver={hasFiles}
      onDrop={(event) => hasFiles(event) && (setOver(0), setDropped({ files: [...(event.dataTransfer?.files ?? [])] }))}
    >
      <aside class="chat-side" aria-label="Conversations">
        {list()}
      </aside>
      <section class="chat-main" aria-label="Conversation">
        <header class="chat-head">
          <button
            type="button"
            class="button quiet icon-only chat-menu"
            aria-label="Conversations"
            onClick={() => (setDrawerOpen(true), drawer.current?.showModal())}
          >
            <Icon name="menu" />
          </button>
          <h1 class="ellipsis">{title || `Chat with @${name}`}</h1>
          <a class="button quiet icon-only chat-menu" href={href("chat", name)} aria-label="New conversation">
            <Icon name="plus" />
          </a>
        </header>
        <Conversation chat={chat} partner={partner} />
        <div class="chat-foot">
          <Composer intake={intake} active={active} disabled={chat.loading.value} dropped={dropped} onSend={send} onStop={stop} />
        </div>
      </section>
      <dialog
        ref={drawer}
        class="drawer"
        aria-label="Conversations"
        onClose={() => setDrawerOpen(false)}
        onClick={(event) => event.target === drawer.current && drawer.current?.close()}
      >
        {drawerOpen && (
          <div class="drawer-content">
            <button type="button" class="button quiet icon-only drawer-close" aria-label="Close" onClick={() => drawer.current?.close()}>
              <Icon name="close" />
            </button>
            {list(() => drawer.current?.close())}
          </div>
        )}
      </dialog>
    </div>
  );
}

/** Whether files are dragged; then the page takes them, and not the browser. */
function hasFiles(event: DragEvent): boolean {
  const files = event.dataTransfer?.types.includes("Files") ?? false;
  if (files) event.preventDefault();
  return files;
}

/** The conversation of the address. It stays the same one when it gets its id, or goes on in a fork of its own. */
function useChat(deployment: string, id: string): Chat {
  const held = useRef<Chat | undefined>(undefined);
  if (!held.current || held.current.deployment !== deployment || held.current.id !== id) {
    held.current?.close();
    held.current = new Chat(deployment, id);
  }
  useEffect(() => () => held.current?.close(), []);
  return held.current;
}

function lastUsed(): string {
  try {
    return localStorage.getItem(LAST) ?? "";
  } catch {
    return "";
  }
}

function remember(name: string): void {
  try {
    localStorage.setItem(LAST, name);
  } catch {
    // The first pipeline is then the one that is shown.
  }
}
