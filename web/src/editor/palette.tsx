/** The catalogue of node types: a click adds one, or it is dragged to its place. */
import { useEffect, useMemo, useState } from "preact/hooks";
import { firstLine, typesWith, type NodeType } from "../app/catalogue.ts";
import { grouped } from "../app/grouped.ts";
import { Icon } from "../app/icons.tsx";
import { useShortcuts } from "../app/shortcuts.tsx";
import { ErrorLine } from "../widgets/fault_box.tsx";
import { DRAGGED_TYPE } from "./canvas.tsx";
import { editor } from "./store.ts";

export function Palette({ onAdded }: { onAdded(id: string): void }) {
  const [text, setText] = useState("");
  const [error, setError] = useState<Error>();
  const types = editor.types.value;
  useEffect(() => {
    const abort = new AbortController();
    editor.loadTypes(abort.signal).then(
      () => setError(undefined),
      (failed: Error) => abort.signal.aborted || setError(failed),
    );
    return () => abort.abort();
  }, []);
  useShortcuts([{ keys: "/", label: "Search the node types to add", run: () => document.getElementById("palette-text")?.focus() }]);
  const services = useMemo(() => ordered(typesWith(types, text), text), [types, text]);
  return (
    <section class="palette" aria-label="Node types">
      <input id="palette-text" type="search" placeholder="Add a node…" aria-label="Search the node types to add" value={text} onInput={(event) => setText(event.currentTarget.value)} />
      <ErrorLine error={error} />
      <div class="palette-list">
        {types.length > 0 && !services.length && <p class="soft">No node type matches.</p>}
        {services.map(([service, list]) => (
          <section key={service} aria-label={service}>
            <h3>{service}</h3>
            <ul>
              {list.map((type) => (
                <li key={type.provider}>
                  <button
                    class="palette-item"
                    draggable
                    title={type.description}
                    onDragStart={(event) => event.dataTransfer?.setData(DRAGGED_TYPE, type.provider)}
                    onClick={() => onAdded(editor.add(type))}
                  >
                    <span class="mono">
                      <span class="hidden-visually">Add </span>
                      {type.provider}
                    </span>{" "}
                    <Icon name="plus" size={15} />
                    <span class="palette-about">{firstLine(type.description)}</span>
                  </button>
                </li>
              ))}
            </ul>
          </section>
        ))}
      </div>
    </section>
  );
}

const serviceOf = (type: NodeType): string => (type.boundary ? `${type.boundary}s` : type.service || "other");

/** Sources and targets first: every pipeline has them. */
const rank = (service: string): number => ({ sources: 0, targets: 1 })[service] ?? 2;

/** The node types by service. Those whose name is the text, or begins with it, come first, so that Enter adds what was typed. */
function ordered(types: NodeType[], text: string): [string, NodeType[]][] {
  const typed = text.trim().toLowerCase();
  const distance = (type: NodeType): number => (type.provider === typed ? 0 : type.provider.startsWith(typed) ? 1 : 2);
  const nearest = (list: NodeType[]): number => Math.min(...list.map(distance));
  return [...grouped(types, serviceOf)]
    .map(([service, list]): [string, NodeType[]] => [service, [...list].sort((a, b) => distance(a) - distance(b))])
    .sort(([a, mine], [b, theirs]) => nearest(mine) - nearest(theirs) || rank(a) - rank(b) || a.localeCompare(b));
}
