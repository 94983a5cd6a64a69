/** The text of a pipeline with its faults, each at its place. Faults are asked of the gateway while one types. */
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { api, ApiError } from "../app/api.ts";
import { plural } from "../app/format.ts";
import { Icon } from "../app/icons.tsx";
import type { PipelineDocument, PipelineFault } from "../app/types.ts";
import { lineAt, placeOf, placesOf, type Place } from "./json_places.ts";

const PAUSE = 300;
const NO_VARIABLES = {};

export interface Checked {
  /** The document; undefined while the text is not JSON. */
  document: PipelineDocument | undefined;
  faults: PipelineFault[];
  /** The faults of the present text are known. */
  current: boolean;
}

/** The document and the faults of a text, checked by the gateway after a pause, with these values of variables. */
export function useChecked(text: string, variables: Record<string, string> = NO_VARIABLES): Checked {
  const [checked, setChecked] = useState<{ text: string; faults: PipelineFault[] }>({ text: "", faults: [] });
  const parsed = useMemo(() => parse(text), [text]);
  useEffect(() => {
    if (!parsed.document) return setChecked({ text, faults: parsed.faults });
    const abort = new AbortController();
    const timer = setTimeout(async () => {
      try {
        const { faults } = await api.validate(parsed.document, variables, abort.signal);
        setChecked({ text, faults });
      } catch (error) {
        if (abort.signal.aborted) return;
        const failed = error as ApiError;
        setChecked({ text, faults: failed.faults.length ? failed.faults : [fault("", failed.message)] });
      }
    }, PAUSE);
    return () => (clearTimeout(timer), abort.abort());
  }, [text, variables]);
  const faults = parsed.document ? checked.faults : parsed.faults;
  return { document: parsed.document, faults, current: checked.text === text };
}

function parse(text: string): { document: PipelineDocument | undefined; faults: PipelineFault[] } {
  try {
    const document = JSON.parse(text) as PipelineDocument;
    if (typeof document === "object" && document !== null && !Array.isArray(document)) return { document, faults: [] };
    return { document: undefined, faults: [fault("", "A pipeline is a JSON object.")] };
  } catch (error) {
    return { document: undefined, faults: text.trim() ? [fault("", `This is not JSON: ${(error as Error).message}`)] : [] };
  }
}

const fault = (pointer: string, message: string): PipelineFault => ({ pointer, reason: "not-json", message, hint: "", severity: "error" });

interface PipelineTextProps {
  text: string;
  faults: PipelineFault[];
  label: string;
  onText(text: string): void;
}

export function PipelineText({ text, faults, label, onText }: PipelineTextProps) {
  const area = useRef<HTMLTextAreaElement>(null);
  const back = useRef<HTMLPreElement>(null);
  const places = useMemo(() => placesOf(text), [text]);
  const placed = faults.map((one) => ({ fault: one, place: places ? placeOf(places, one.pointer) : { from: 0, to: 0 } }));
  placed.sort((a, b) => a.place.from - b.place.from);
  const show = (place: Place): void => {
    const element = area.current;
    if (!element) return;
    element.focus();
    element.setSelectionRange(place.from, Math.min(place.to, place.from + 2_000));
    const height = element.scrollHeight / Math.max(1, text.split("\n").length);
    element.scrollTop = (lineAt(text, place.from) - 4) * height;
  };
  return (
    <div class="pipeline-text">
      <div class="pipeline-frame">
        <pre class="pipeline-back" ref={back} aria-hidden="true">
          {marked(text, placed.filter((one) => one.place.to > one.place.from && one.fault.pointer))}
        </pre>
        <textarea
          ref={area}
          class="pipeline-area"
          aria-label={label}
          spellcheck={false}
          autocomplete="off"
          wrap="off"
          value={text}
          onInput={(event) => onText(event.currentTarget.value)}
          onScroll={(event) => {
            back.current!.scrollTop = event.currentTarget.scrollTop;
            back.current!.scrollLeft = event.currentTarget.scrollLeft;
          }}
        />
      </div>
      <FaultList placed={placed} text={text} onShow={show} />
    </div>
  );
}

/** The text in pieces: those with faults are marked. Of places inside each other only the first one is. */
function marked(text: string, placed: { fault: PipelineFault; place: Place }[]) {
  const pieces = [];
  let at = 0;
  for (const { fault: one, place } of placed) {
    if (place.from < at) continue;
    pieces.push(text.slice(at, place.from), <mark class={one.severity}>{text.slice(place.from, place.to)}</mark>);
    at = place.to;
  }
  return [...pieces, text.slice(at) + "\n"];
}

interface FaultListProps {
  placed: { fault: PipelineFault; place: Place }[];
  text: string;
  onShow(place: Place): void;
}

function FaultList({ placed, text, onShow }: FaultListProps) {
  const errors = placed.filter((one) => one.fault.severity === "error").length;
  const warnings = placed.length - errors;
  const words = [errors && plural(errors, "fault"), warnings && plural(warnings, "warning")].filter(Boolean).join(", ");
  return (
    <div class="fault-list">
      <p role="status" class={errors ? "soft" : "soft good"}>
        {!placed.length && text.trim() && <Icon name="check" size={16} />}
        {words || (text.trim() ? "No faults" : "")}
      </p>
      <ul>
        {placed.map(({ fault: one, place }) => (
          <li key={one.pointer + one.reason}>
            <button type="button" class={`fault-item ${one.severity}`} onClick={() => onShow(place)}>
              <span class="fault-place">
                <span class="number">line {lineAt(text, place.from)}</span> <code>{one.pointer || "/"}</code>
              </span>
              <span>{one.message}</span>
              {one.hint && <span class="soft">{one.hint}</span>}
            </button>
          </li>
        ))}
      </ul>
    </div>
  );
}
