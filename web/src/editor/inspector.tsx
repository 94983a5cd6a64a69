/** The settings of what is selected: a node, an edge, or the pipeline. */
import { useState } from "preact/hooks";
import { firstLine, type JsonSchema, type NodeType } from "../app/catalogue.ts";
import { Icon } from "../app/icons.tsx";
import { href } from "../app/router.ts";
import { withId, withValue } from "./changes.ts";
import { COMPONENT, CONTROL, known, LANE, pipelineSchema } from "./entry_schemas.ts";
import type { Connection, Part } from "./pipeline_parts.ts";
import { words } from "./pipeline_parts.ts";
import { portKey } from "./ports.ts";
import { SchemaForm } from "./schema_form.tsx";
import { sourcesOf } from "./sources.ts";
import { editor, faultsAt } from "./store.ts";

const ID = /^[A-Za-z0-9_-]{1,128}$/;

function set(pointer: string, value: unknown): void {
  editor.change(withValue(editor.document.value, pointer, value), pointer);
}

export function Inspector() {
  const selection = editor.selection.value;
  const wiring = editor.wiring.value;
  if (selection?.kind === "node") {
    const part = wiring.parts.find((one) => one.id === selection.id);
    if (part) return <NodeSettings key={part.id} part={part} type={editor.catalogue.value.get(part.provider)} />;
  }
  if (selection?.kind === "edge") {
    const connection = wiring.connections.find((one) => one.pointer === selection.pointer);
    if (connection) return <EdgeSettings key={connection.pointer} connection={connection} />;
  }
  const sources = sourcesOf(editor.document.value, (provider) => editor.catalogue.value.get(provider));
  const schema = pipelineSchema(sources.map((one) => one.id));
  return (
    <div class="stack">
      <h2>Pipeline</h2>
      <SchemaForm schema={schema} value={known(editor.document.value, schema)} pointer="" faults={editor.faults.value} onChange={set} />
      {!wiring.parts.length && <p class="soft">Add nodes from the list of node types: a source, what works on its items, and a response as the target. Then draw lines from outputs to inputs.</p>}
    </div>
  );
}

function NodeSettings({ part, type }: { part: Part; type: NodeType | undefined }) {
  const pointer = `/components/${part.index}`;
  const faults = editor.faults.value;
  const own = faultsAt(faults, pointer).filter((one) => one.pointer === pointer || one.pointer === `${pointer}/provider` || one.pointer === `${pointer}/config`);
  const schema = type?.config_schema ?? {};
  const more = known(part.entry, COMPONENT);
  const troubled = faults.some((one) => Object.keys(COMPONENT.properties!).some((name) => one.pointer.startsWith(`${pointer}/${name}`)));
  return (
    <div class="stack">
      <header class="inspector-head">
        <h2 class="mono">{part.id}</h2>
        <button class="button quiet icon-only small" aria-label={`Delete ${part.id}`} title="Delete" onClick={() => editor.remove({ kind: "node", id: part.id })}>
          <Icon name="trash" size={16} />
        </button>
      </header>
      <p class="soft">
        {type ? <a href={href("types", type.provider)}>{part.provider}</a> : <span class="mono">{part.provider}</span>}
        {type?.description && <> · {firstLine(type.description)}</>}
      </p>
      {own.map((one) => (
        <p key={one.pointer + one.reason} class="error-line">
          {one.message} {one.hint}
        </p>
      ))}
      <Rename part={part} />
      <Connections part={part} />
      {(Object.keys(schema.properties ?? {}).length > 0 || Object.keys(part.entry.config ?? {}).length > 0) && (
        <section class="stack" aria-label="Config">
          <h3>Config</h3>
          <SchemaForm schema={withProfiles(schema, type)} root={schema} value={part.entry.config} pointer={`${pointer}/config`} faults={faults} onChange={set} />
        </section>
      )}
      <details class="form-group" open={Object.keys(more).length > 0 || troubled}>
        <summary>More settings of the node</summary>
        <SchemaForm schema={COMPONENT} value={more} pointer={pointer} faults={faults} onChange={set} />
      </details>
    </div>
  );
}

/** The config also names a profile of the node type, if it has such. */
function withProfiles(schema: JsonSchema, type: NodeType | undefined): JsonSchema {
  const names = Object.keys(type?.profiles ?? {});
  if (!names.length || schema.properties?.["profile"]) return schema;
  return { ...schema, properties: { profile: { enum: names, description: "Values that the node type gives a name." }, ...schema.properties } };
}

function Rename({ part }: { part: Part }) {
  const [draft, setDraft] = useState(part.id);
  const taken = draft !== part.id && editor.wiring.value.parts.some((one) => one.id === draft);
  const wrong = !ID.test(draft) ? "An id has letters, digits, _ and -, at most 128." : taken ? "Another node has this id." : "";
  const rename = (): void => {
    if (wrong || draft === part.id) return;
    editor.change(withId(editor.document.value, part.id, draft));
    editor.selection.value = { kind: "node", id: draft };
  };
  return (
    <form class={wrong ? "form-field invalid" : "form-field"} onSubmit={(event) => (event.preventDefault(), rename())}>
      <label>
        <span class="label mono">id</span>
        <input value={draft} aria-invalid={wrong !== ""} spellcheck={false} autocomplete="off" onInput={(event) => setDraft(event.currentTarget.value)} onBlur={rename} />
      </label>
      {wrong && (
        <div class="form-faults">
          <p class="error">{wrong}</p>
        </div>
      )}
    </form>
  );
}

function Connections({ part }: { part: Part }) {
  const wiring = editor.wiring.value;
  const all = wiring.connections.filter((one) => one.from === part.id || one.to === part.id);
  const starts = wiring.starts(part.id);
  if (!all.length && !starts.length) return null;
  return (
    <section aria-label="Connections">
      <h3>Connections</h3>
      <ul class="connection-list">
        {all.map((one) => (
          <li key={one.pointer}>
            <button class="link mono" onClick={() => (editor.selection.value = { kind: "edge", pointer: one.pointer })}>
              {nameOf(one)}
            </button>
            <RemoveButton connection={one} />
          </li>
        ))}
      </ul>
      <div class="row">
        {starts.map((port) => (
          <button key={portKey(port)} class="button small" onClick={() => (editor.pending.value = { component: part.id, port })}>
            {port.kind === "invokes" ? `Add a helper: ${port.name}` : `Connect ${port.name}`}
          </button>
        ))}
      </div>
    </section>
  );
}

function RemoveButton({ connection }: { connection: Connection }) {
  return (
    <button class="button quiet icon-only small" aria-label={`Delete ${nameOf(connection)}`} title="Delete" onClick={() => editor.remove({ kind: "edge", pointer: connection.pointer })}>
      <Icon name="trash" size={15} />
    </button>
  );
}

export function nameOf({ kind, from, to, entry }: Connection): string {
  if (kind === "control") return `${from} calls ${to} (${words(entry["classType"])})`;
  const output = words(entry["output"]) || words(entry["lane"]);
  const input = words(entry["input"]);
  return `${from}.${output} → ${to}${input ? `.${input}` : ""}`;
}

function EdgeSettings({ connection }: { connection: Connection }) {
  const schema = connection.kind === "control" ? CONTROL : LANE;
  const faults = editor.faults.value;
  const own = faultsAt(faults, connection.pointer).filter((one) => !Object.keys(schema.properties!).some((name) => one.pointer === `${connection.pointer}/${name}`));
  return (
    <div class="stack">
      <header class="inspector-head">
        <h2 class="mono">{nameOf(connection)}</h2>
        <RemoveButton connection={connection} />
      </header>
      <p class="soft">{connection.kind === "control" ? "A control connection: the one calls the other as a helper." : `An edge that carries ${words(connection.entry["lane"]) || "items"}.`}</p>
      {own.map((one) => (
        <p key={one.pointer + one.reason} class="error-line">
          {one.message} {one.hint}
        </p>
      ))}
      <SchemaForm schema={schema} value={known(connection.entry, schema)} pointer={connection.pointer} faults={faults} onChange={set} />
    </div>
  );
}
