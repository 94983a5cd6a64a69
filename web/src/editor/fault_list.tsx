/** The faults of the document, below the graph: a click selects the place of one. */
import { plural } from "../app/format.ts";
import { Icon } from "../app/icons.tsx";
import type { PipelineFault } from "../app/types.ts";
import { editor, placeOfFault } from "./store.ts";

export function Faults({ current, onShow }: { current: boolean; onShow(fault: PipelineFault): void }) {
  const faults = editor.faults.value;
  const parts = editor.wiring.value.parts;
  const errors = faults.filter((one) => one.severity === "error").length;
  const warnings = faults.length - errors;
  const words = [errors && plural(errors, "fault"), warnings && plural(warnings, "warning")].filter(Boolean).join(", ");
  const nameOf = (fault: PipelineFault): string => {
    const place = placeOfFault(fault.pointer, parts);
    const index = /^\/components\/(\d+)/.exec(fault.pointer)?.[1];
    const id = place?.kind === "node" ? place.id : parts.find((one) => String(one.index) === index)?.id;
    const rest = fault.pointer.replace(/^\/components\/\d+\/?/, "").replaceAll("/", ".");
    return [id, id ? rest : fault.pointer].filter(Boolean).join(" · ") || "pipeline";
  };
  return (
    <section class="faults" aria-label="Faults">
      <p role="status" class={errors ? "faults-head bad" : current && !faults.length ? "faults-head good" : "faults-head"}>
        <Icon name={faults.length ? "alert" : "check"} size={16} />
        {words || (current ? "No faults" : "Checking…")}
      </p>
      {faults.length > 0 && (
        <ul>
          {faults.map((one) => (
            <li key={one.pointer + one.reason + one.message}>
              <button class={`fault-item ${one.severity}`} onClick={() => onShow(one)}>
                <span>
                  <span class="fault-place mono">{nameOf(one)}</span> {one.message}
                </span>
                {one.hint && <span class="soft">{one.hint}</span>}
              </button>
            </li>
          ))}
        </ul>
      )}
    </section>
  );
}
