/** Deploys the document under a name. */
import { useEffect, useRef, useState } from "preact/hooks";
import { api } from "../app/api.ts";
import { notify, notifyError } from "../app/notices.tsx";
import { editor } from "./store.ts";

export function DeployDialog({ name: given, onClose }: { name: string; onClose(): void }) {
  const dialog = useRef<HTMLDialogElement>(null);
  const [name, setName] = useState(given);
  const [sending, setSending] = useState(false);
  useEffect(() => dialog.current?.showModal(), []);
  const deploy = async (event: SubmitEvent): Promise<void> => {
    event.preventDefault();
    setSending(true);
    try {
      const done = await api.deploy(name, { pipeline: editor.document.value });
      editor.origin.value = `@${done.name}`;
      editor.fileName.value = done.name;
      editor.markSaved();
      notify(`@${done.name} is deployed, version ${done.version}.`);
      dialog.current?.close();
    } catch (error) {
      notifyError(error);
      setSending(false);
    }
  };
  return (
    <dialog ref={dialog} class="dialog" aria-labelledby="deploy-title" onClose={onClose}>
      <h2 id="deploy-title">Deploy the pipeline</h2>
      <p>It stays loaded under this name. A pipeline of that name is replaced; its active runs continue to their end.</p>
      <form class="row" onSubmit={(event) => void deploy(event)}>
        <label class="grow">
          <span class="label">Name</span>
          <input required pattern="[a-z0-9][a-z0-9_\-]{0,63}" value={name} onInput={(event) => setName(event.currentTarget.value)} />
        </label>
        <button class="button primary" disabled={sending}>
          {sending ? "Deploying…" : "Deploy it"}
        </button>
        <button class="button quiet" type="button" onClick={() => dialog.current?.close()}>
          Close
        </button>
      </form>
    </dialog>
  );
}
