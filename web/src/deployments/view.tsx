/** The deployed pipelines: deploy a file, chat with one, read or remove it. */
import { useEffect, useRef, useState } from "preact/hooks";
import { api } from "../app/api.ts";
import type { Deployment } from "../app/catalogue.ts";
import { ago, plural } from "../app/format.ts";
import { Icon } from "../app/icons.tsx";
import { notify, notifyError } from "../app/notices.tsx";
import { useResource } from "../app/resource.ts";
import { href } from "../app/router.ts";
import { Empty, Loading } from "../widgets/empty.tsx";
import { ErrorLine } from "../widgets/fault_box.tsx";
import { FileDrop } from "../widgets/file_drop.tsx";
import { PipelineText, useChecked } from "../widgets/pipeline_text.tsx";
import { StateBadge } from "../widgets/state_badge.tsx";
import "./deployments.css";

const RELOAD = 3_000;
const MOST_BYTES = 4 * 1024 * 1024;

export function DeploymentsView() {
  const found = useResource((abort) => api.deployments(abort), [], RELOAD);
  const [draft, setDraft] = useState<{ name: string; text: string }>();
  const take = async ([file]: File[]): Promise<void> => {
    if (!file) return;
    if (file.size > MOST_BYTES) return notify(`${file.name} is larger than 4 MiB, so it is no pipeline.`, true);
    setDraft({ name: nameOf(file.name), text: await file.text() });
  };
  const deployments = found.value?.deployments ?? [];
  return (
    <div class="page">
      <header class="page-head">
        <h1>Deployments</h1>
      </header>
      {draft ? (
        <DeployForm
          key={draft.text}
          name={draft.name}
          text={draft.text}
          onClose={() => setDraft(undefined)}
          onDeployed={() => (setDraft(undefined), found.reload())}
        />
      ) : (
        <FileDrop label="Choose a .pipe file" accept=".pipe,.json,application/json" onFiles={(files) => void take(files)}>
          <p class="soft">Drop a .pipe file here to deploy it.</p>
        </FileDrop>
      )}
      <ErrorLine error={found.error} />
      {!found.value && !found.error && <Loading />}
      {found.value && !deployments.length && (
        <Empty title="Nothing is deployed">
          <p>A deployed pipeline stays loaded under a name. Chats, the API and the doors for other SDKs use it by that name.</p>
        </Empty>
      )}
      <ul class="card-list">
        {deployments.map((one) => (
          <li key={one.name}>
            <DeploymentCard deployment={one} onChange={found.reload} />
          </li>
        ))}
      </ul>
    </div>
  );
}

/** A name that a deployment may have: that of the file in lower case. */
export function nameOf(file: string): string {
  const name = file.toLowerCase().replace(/\.(pipe|json)$/, "").replace(/[^a-z0-9_-]+/g, "-");
  return name.replace(/^[-_]+|[-_]+$/g, "").slice(0, 64) || "pipeline";
}

interface DeployFormProps {
  name: string;
  text: string;
  onClose(): void;
  onDeployed(): void;
}

function DeployForm({ name: givenName, text: givenText, onClose, onDeployed }: DeployFormProps) {
  const [name, setName] = useState(givenName);
  const [text, setText] = useState(givenText);
  const [sending, setSending] = useState(false);
  const { document, faults, current } = useChecked(text);
  const invalid = faults.some((one) => one.severity === "error");
  const deploy = async (event: SubmitEvent): Promise<void> => {
    event.preventDefault();
    if (!document || invalid || !current) return;
    setSending(true);
    try {
      const done = await api.deploy(name, { pipeline: document });
      notify(`@${done.name} is deployed, version ${done.version}.`);
      onDeployed();
    } catch (error) {
      notifyError(error);
      setSending(false);
    }
  };
  return (
    <form class="card deploy" onSubmit={(event) => void deploy(event)} aria-label="Deploy a pipeline">
      <div class="row end">
        <label class="grow">
          <span class="label">Name</span>
          <input required pattern="[a-z0-9][a-z0-9_\-]{0,63}" value={name} onInput={(event) => setName(event.currentTarget.value)} />
        </label>
        <button class="button primary" disabled={sending || invalid || !document || !current}>
          {sending ? "Deploying…" : "Deploy"}
        </button>
        <button class="button quiet" type="button" onClick={onClose}>
          Discard
        </button>
      </div>
      <PipelineText text={text} faults={faults} label="Text of the pipeline" onText={setText} />
    </form>
  );
}

function DeploymentCard({ deployment, onChange }: { deployment: Deployment; onChange(): void }) {
  const [shown, setShown] = useState(false);
  const [asking, setAsking] = useState(false);
  const { name } = deployment;
  const servers = [...new Set((deployment.placements ?? []).map((one) => one.server))];
  const facts = [
    `version ${deployment.version}`,
    deployment.created_at && `deployed ${ago(deployment.created_at)}`,
    deployment.active_runs ? plural(deployment.active_runs, "active run") : "",
    servers.length ? `on ${servers.join(", ")}` : "",
  ].filter(Boolean);
  return (
    <article class="card" aria-label={name}>
      <header>
        <h2>@{name}</h2>
        <StateBadge state={deployment.state} />
      </header>
      <p class="soft number">{facts.join(" · ")}</p>
      {deployment.detail && <p class="error-line">{deployment.detail}</p>}
      <div class="row">
        <a class="button small" href={href("chat", name)}>
          <Icon name="chat" size={16} />
          Chat
        </a>
        <a class="button small" href={href("editor", name)}>
          <Icon name="editor" size={16} />
          Edit
        </a>
        <a class="button small" href={`${href("runs")}?deployment=${encodeURIComponent(name)}`}>
          Runs
        </a>
        <button class="button small quiet" aria-expanded={shown} onClick={() => setShown(!shown)}>
          {shown ? "Hide the document" : "Document"}
        </button>
        <button class="button small quiet" onClick={() => setAsking(true)}>
          Remove
        </button>
      </div>
      {shown && <Document name={name} version={deployment.version} />}
      {asking && <RemoveDialog name={name} onClose={() => setAsking(false)} onRemoved={onChange} />}
    </article>
  );
}

function Document({ name, version }: { name: string; version: number }) {
  const found = useResource(() => api.deployment(name), [name, version]);
  if (!found.value) return found.error ? <ErrorLine error={found.error} /> : <Loading />;
  return (
    <pre class="plain" tabIndex={0} aria-label={`Document of ${name}`}>
      {JSON.stringify(found.value.pipeline, null, 2)}
    </pre>
  );
}

function RemoveDialog({ name, onClose, onRemoved }: { name: string; onClose(): void; onRemoved(): void }) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => dialog.current?.showModal(), []);
  const remove = async (): Promise<void> => {
    try {
      await api.undeploy(name);
      onRemoved();
    } catch (error) {
      notifyError(error);
    }
    dialog.current?.close();
  };
  return (
    <dialog ref={dialog} class="dialog" aria-labelledby={`remove-${name}`} onClose={onClose}>
      <h2 id={`remove-${name}`}>Remove @{name}?</h2>
      <p>Its active runs continue to their end. New chats and requests by this name fail.</p>
      <div class="row">
        <button class="button danger" onClick={() => void remove()}>
          Remove
        </button>
        <button class="button quiet" onClick={() => dialog.current?.close()}>
          Keep it
        </button>
      </div>
    </dialog>
  );
}
