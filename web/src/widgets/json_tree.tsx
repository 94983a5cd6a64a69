/** A JSON value that unfolds part by part. Parts that are folded are not drawn. */
import { useState } from "preact/hooks";
import { plural } from "../app/format.ts";

const MOST_CHILDREN = 100;
const MOST_TEXT = 2_000;
/** An object of at most so many fields is shown without a line of its own. */
const MOST_PLAIN = 20;

export function JsonTree({ value, open = 2 }: { value: unknown; open?: number }) {
  const entries = typeof value === "object" && value !== null ? Object.entries(value) : [];
  const plain = open > 0 && entries.length > 0 && entries.length <= MOST_PLAIN;
  return (
    <div class="json">
      {plain && !Array.isArray(value) ? (
        entries.map(([name, child]) => <Part key={name} name={name} value={child} open={open - 1} />)
      ) : (
        <Part value={value} name={undefined} open={open} />
      )}
    </div>
  );
}

function Part({ value, name, open }: { value: unknown; name: string | undefined; open: number }) {
  if (typeof value !== "object" || value === null) {
    return (
      <div class="json-line">
        <Name name={name} />
        <Leaf value={value} />
      </div>
    );
  }
  return <Branch value={value} name={name} open={open} />;
}

function Branch({ value, name, open }: { value: object; name: string | undefined; open: number }) {
  const entries = Object.entries(value);
  const [shown, setShown] = useState(open > 0 && entries.length <= MOST_CHILDREN);
  const [most, setMost] = useState(MOST_CHILDREN);
  const list = Array.isArray(value);
  if (!entries.length) {
    return (
      <div class="json-line">
        <Name name={name} />
        <span class="json-null">{list ? "[ ]" : "{ }"}</span>
      </div>
    );
  }
  return (
    <details open={shown} onToggle={(event) => setShown(event.currentTarget.open)}>
      <summary>
        <Name name={name} />
        {!shown && <span class="json-preview">{preview(value)}</span>}
        <span class="json-size">{list ? `[ ${plural(entries.length, "item")} ]` : `{ ${plural(entries.length, "field")} }`}</span>
      </summary>
      {shown && (
        <div class="json-children">
          {entries.slice(0, most).map(([key, child]) => (
            <Part key={key} name={key} value={child} open={open - 1} />
          ))}
          {entries.length > most && (
            <button type="button" class="button quiet small" onClick={() => setMost(most + MOST_CHILDREN)}>
              Show {Math.min(MOST_CHILDREN, entries.length - most)} more of {entries.length}
            </button>
          )}
        </div>
      )}
    </details>
  );
}

/** The beginning of a value on one line. */
function preview(value: unknown, most = 90): string {
  let text = "";
  for (const [key, child] of Object.entries(value as object)) {
    if (text.length > most) return text.slice(0, most) + "… ";
    const shown = typeof child === "object" && child !== null ? (Array.isArray(child) ? "[…]" : "{…}") : JSON.stringify(child)?.slice(0, most);
    text += `${text ? ", " : ""}${Array.isArray(value) ? "" : `${key}: `}${shown}`;
  }
  return text + " ";
}

function Name({ name }: { name: string | undefined }) {
  return name === undefined ? null : <span class="json-name">{name}: </span>;
}

function Leaf({ value }: { value: unknown }) {
  const [whole, setWhole] = useState(false);
  if (typeof value !== "string") return <span class={value === null ? "json-null" : "json-atom"}>{String(value)}</span>;
  const cut = !whole && value.length > MOST_TEXT;
  return (
    <span class="json-text">
      "{cut ? value.slice(0, MOST_TEXT) : value}"
      {cut && (
        <button type="button" class="button quiet small" onClick={() => setWhole(true)}>
          Show all {value.length.toLocaleString("en")} characters
        </button>
      )}
    </span>
  );
}
