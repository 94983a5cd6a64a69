/** What a person asked: the text and its files; it can be edited and asked again. */
import { useEffect, useRef, useState } from "preact/hooks";
import { bytes } from "../app/format.ts";
import { Icon } from "../app/icons.tsx";
import type { Media } from "../app/types.ts";
import { useBlobUrl } from "../widgets/media.tsx";
import { grow } from "./composer.tsx";
import type { Message } from "./intake.ts";

/** `onEdited` is undefined where a question cannot be asked again. */
export function Question({ message, onEdited }: { message: Message; onEdited: ((message: Message) => void) | undefined }) {
  const [editing, setEditing] = useState(false);
  if (editing && onEdited) {
    return <EditForm text={message.text} onCancel={() => setEditing(false)} onSend={(text) => (setEditing(false), onEdited({ ...message, text }))} />;
  }
  return (
    <article class="question" aria-label="Question">
      {message.images.map((image, index) => (
        <QuestionImage key={index} image={image} />
      ))}
      {message.audio.map((audio, index) => (
        <QuestionAudio key={index} audio={audio} />
      ))}
      {message.documents.map((one, index) => (
        <details key={index} class="question-document">
          <summary>
            {one.source || "Document"} <span class="faint number">{bytes(one.content.length)}</span>
          </summary>
          <pre class="plain" tabIndex={0}>
            {one.content}
          </pre>
        </details>
      ))}
      {message.text && (
        <div class="question-line">
          <p class="question-text">{message.text}</p>
          {onEdited && (
            <button type="button" class="button quiet icon-only small" aria-label="Edit the question" title="Edit" onClick={() => setEditing(true)}>
              <Icon name="edit" size={15} />
            </button>
          )}
        </div>
      )}
    </article>
  );
}

function QuestionImage({ image }: { image: Media }) {
  const url = useBlobUrl(image);
  return url ? <img class="question-image" src={url} alt="Image of the question" /> : <p class="faint">{image.uri || `${image.mime_type}, empty`}</p>;
}

function QuestionAudio({ audio }: { audio: Media }) {
  const url = useBlobUrl(audio);
  return url ? <audio src={url} controls aria-label="Recording of the question" /> : null;
}

function EditForm({ text: given, onSend, onCancel }: { text: string; onSend(text: string): void; onCancel(): void }) {
  const [text, setText] = useState(given);
  const field = useRef<HTMLTextAreaElement>(null);
  useEffect(() => {
    field.current?.focus();
    field.current?.setSelectionRange(given.length, given.length);
  }, []);
  useEffect(() => grow(field.current), [text]);
  const send = (): void => {
    if (text.trim()) onSend(text.trim());
  };
  const onKeyDown = (event: KeyboardEvent): void => {
    if (event.key === "Escape") {
      event.stopPropagation();
      onCancel();
    } else if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      send();
    }
  };
  return (
    <form class="question edit" aria-label="Edit the question" onSubmit={(event) => (event.preventDefault(), send())}>
      <textarea ref={field} rows={1} aria-label="Question" value={text} onInput={(event) => setText(event.currentTarget.value)} onKeyDown={onKeyDown} />
      <div class="row">
        <span class="faint grow">Goes on in a new conversation; this one stays.</span>
        <button type="button" class="button quiet small" onClick={onCancel}>
          Cancel
        </button>
        <button class="button primary small" disabled={!text.trim()}>
          Send
        </button>
      </div>
    </form>
  );
}
