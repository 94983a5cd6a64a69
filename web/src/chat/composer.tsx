/** The field for a message, with its files. */
import { useEffect, useRef, useState } from "preact/hooks";
import { bytes } from "../app/format.ts";
import { Icon } from "../app/icons.tsx";
import { ErrorLine } from "../widgets/fault_box.tsx";
import { useBlobUrl } from "../widgets/media.tsx";
import { messageOf, readFile, type Attachment } from "./attachments.ts";
import type { Intake, Message } from "./intake.ts";
import { Microphone } from "./recorder.tsx";

const MOST_HEIGHT = 220;
/** Refused files that are named. */
const MOST_REASONS = 5;

interface ComposerProps {
  intake: Intake;
  /** An answer is being given: it can be stopped, and the next message waits for its end. */
  active: boolean;
  disabled: boolean;
  /** Files that were dropped beside the field, once. */
  dropped: { files: File[] } | undefined;
  onSend(message: Message): void;
  onStop(): void;
}

export function Composer({ intake, active, disabled, dropped, onSend, onStop }: ComposerProps) {
  const [text, setText] = useState("");
  const [attachments, setAttachments] = useState<readonly Attachment[]>([]);
  const [refused, setRefused] = useState<readonly string[]>([]);
  const field = useRef<HTMLTextAreaElement>(null);
  const files = useRef<HTMLInputElement>(null);
  const kept = useRef(attachments);
  const keep = (next: readonly Attachment[]): void => {
    kept.current = next;
    setAttachments(next);
  };
  const take = async (list: Iterable<File>): Promise<void> => {
    const reasons: string[] = [];
    for (const file of list) {
      try {
        const one = await readFile(file, intake, kept.current);
        keep([...kept.current, one]);
      } catch (error) {
        reasons.push((error as Error).message);
      }
    }
    setRefused(reasons.length > MOST_REASONS ? [...reasons.slice(0, MOST_REASONS), `${reasons.length - MOST_REASONS} more files are left out.`] : reasons);
    field.current?.focus();
  };
  useEffect(() => {
    if (dropped) void take(dropped.files);
  }, [dropped]);
  useEffect(() => {
    if (matchMedia("(hover: hover)").matches) field.current?.focus();
  }, []);
  useEffect(() => grow(field.current), [text]);

  const empty = !text.trim() && !attachments.length;
  const send = (): void => {
    if (empty || active || disabled) return;
    onSend(messageOf(text.trim(), attachments));
    setText("");
    keep([]);
    setRefused([]);
    field.current?.focus();
  };
  const onKeyDown = (event: KeyboardEvent): void => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    send();
  };
  const onPaste = (event: ClipboardEvent): void => {
    const pasted = [...(event.clipboardData?.files ?? [])];
    if (!pasted.length) return;
    event.preventDefault();
    void take(pasted);
  };
  return (
    <form class="composer" aria-label="Message" onSubmit={(event) => (event.preventDefault(), send())}>
      {attachments.length > 0 && (
        <ul class="attachments" aria-label="Files of the message">
          {attachments.map((one) => (
            <li key={one.key}>
              <AttachmentChip attachment={one} onRemove={() => keep(attachments.filter((other) => other !== one))} />
            </li>
          ))}
        </ul>
      )}
      {refused.map((message) => (
        <ErrorLine key={message} error={{ message }} />
      ))}
      <textarea
        ref={field}
        rows={1}
        aria-label="Message"
        aria-describedby="composer-keys"
        placeholder={intake.text ? "Ask something" : "Record a question"}
        value={text}
        readOnly={!intake.text}
        onInput={(event) => setText(event.currentTarget.value)}
        onKeyDown={onKeyDown}
        onPaste={onPaste}
      />
      <div class="composer-tools">
        <button type="button" class="button quiet icon-only" aria-label="Add files" title="Add files" onClick={() => files.current?.click()}>
          <Icon name="attach" size={18} />
        </button>
        <input
          ref={files}
          class="hidden-visually"
          type="file"
          multiple
          tabIndex={-1}
          aria-label="Files"
          onChange={(event) => {
            void take([...(event.currentTarget.files ?? [])]);
            event.currentTarget.value = "";
          }}
        />
        {intake.audio && <Microphone disabled={disabled} onRecorded={(file) => void take([file])} />}
        <span id="composer-keys" class="faint keys">
          {active ? "Esc stops" : "Enter sends, Shift+Enter begins a line"}
        </span>
        {active ? (
          <button type="button" class="button primary icon-only round" aria-label="Stop" title="Stop" onClick={onStop}>
            <Icon name="stop" size={18} />
          </button>
        ) : (
          <button class="button primary icon-only round" aria-label="Send" title="Send" disabled={empty || disabled}>
            <Icon name="send" size={18} />
          </button>
        )}
      </div>
    </form>
  );
}

function AttachmentChip({ attachment, onRemove }: { attachment: Attachment; onRemove(): void }) {
  const url = useBlobUrl(attachment.kind === "document" ? { mime_type: "" } : attachment.media);
  return (
    <span class="attachment">
      {attachment.kind === "image" && url ? <img src={url} alt="" /> : <Icon name={attachment.kind === "audio" ? "microphone" : "attach"} size={16} />}
      <span class="ellipsis">{attachment.name}</span>
      <span class="faint number">{bytes(attachment.size)}</span>
      <button type="button" class="button quiet icon-only small" aria-label={`Remove ${attachment.name}`} onClick={onRemove}>
        <Icon name="close" size={14} />
      </button>
    </span>
  );
}

/** Makes a field as high as its text, up to a limit. */
export function grow(field: HTMLTextAreaElement | null): void {
  if (!field || CSS.supports("field-sizing", "content")) return; // then the style sheet does it
  field.style.height = "auto";
  field.style.height = `${Math.min(field.scrollHeight + 2, MOST_HEIGHT)}px`;
}
