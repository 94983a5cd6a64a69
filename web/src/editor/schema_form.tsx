/** A form of a JSON Schema. What has no field of its own is edited as JSON. Faults stand at their fields. */
import { useEffect, useRef, useState } from "preact/hooks";
import type { JsonSchema } from "../app/catalogue.ts";
import { Icon } from "../app/icons.tsx";
import type { PipelineFault } from "../app/types.ts";
import { schemaType } from "../widgets/schema.ts";
import { join } from "./changes.ts";
import { defaultWords, fieldOf, numberOf, type Field } from "./fields.ts";
import { isObject } from "./pipeline_parts.ts";
import { faultsAt } from "./store.ts";

export interface FormProps {
  schema: JsonSchema;
  root?: JsonSchema;
  value: unknown;
  /** The pointer of the value in the document. */
  pointer: string;
  faults: readonly PipelineFault[];
  /** `undefined`: the field is not set. */
  onChange(pointer: string, value: unknown): void;
}

/** The fields of an object: those of the schema, then what else the value has. */
export function SchemaForm({ schema, root = schema, value, pointer, faults, onChange }: FormProps) {
  const given = isObject(value) ? value : {};
  const properties = schema.properties ?? {};
  const others = Object.keys(given).filter((name) => !Object.hasOwn(properties, name));
  const required = new Set(schema.required ?? []);
  const all = [...Object.entries(properties), ...others.map((name): [string, JsonSchema] => [name, {}])];
  return (
    <div class="form-fields">
      {all.map(([name, one]) => (
        <FormField
          key={name}
          name={name}
          required={required.has(name)}
          schema={one}
          root={root}
          value={Object.hasOwn(given, name) ? given[name] : undefined}
          pointer={join(pointer, name)}
          faults={faults}
          onChange={onChange}
        />
      ))}
    </div>
  );
}

function FormField({ name, required, ...props }: FormProps & { name: string; required: boolean; root: JsonSchema }) {
  const { schema, root, value, pointer, faults, onChange } = props;
  const field = fieldOf(schema, root, value);
  const own = faultsAt(faults, pointer);
  const about = schema.description ?? field.schema.description;
  const id = `field${pointer.replaceAll(/[^A-Za-z0-9]+/g, "-")}`;
  const shared = { id, field, required, ...props, invalid: own.length > 0 };
  const label = (
    <>
      <span class="mono">{name}</span>
      {required && <span class="faint"> required</span>}
    </>
  );
  if (field.kind === "object") {
    return (
      <details class="form-group" open={value !== undefined || own.length > 0}>
        <summary>
          {label}
          {about && <span class="form-about"> {firstSentence(about)}</span>}
        </summary>
        <SchemaForm schema={field.schema} root={root} value={value} pointer={pointer} faults={faults} onChange={onChange} />
      </details>
    );
  }
  const faultsShown = own.length > 0 && (
    <div id={`${id}-faults`} class="form-faults">
      {own.map((one) => (
        <p key={one.pointer + one.reason} class={one.severity}>
          {one.message} {one.hint && <span class="soft">{one.hint}</span>}
        </p>
      ))}
    </div>
  );
  return (
    <div class={own.length ? "form-field invalid" : "form-field"} data-pointer={pointer}>
      {field.kind === "list" ? (
        <ListField {...shared} label={name} caption={label} />
      ) : field.kind === "boolean" ? (
        <label class="form-check">
          <Control {...shared} />
          {label}
        </label>
      ) : (
        <label>
          <span class="label">{label}</span>
          <Control {...shared} />
        </label>
      )}
      {about && <p class="form-about">{firstSentence(about)}</p>}
      {field.kind === "secret" && <p class="form-about">{"Write ${NAME} for the variable NAME, so that the document holds no secret."}</p>}
      {faultsShown}
    </div>
  );
}

const firstSentence = (text: string): string => text.split("\n\n")[0]!.replaceAll("\n", " ");

interface ControlProps {
  id: string;
  field: Field;
  schema: JsonSchema;
  root: JsonSchema;
  value: unknown;
  pointer: string;
  required: boolean;
  invalid: boolean;
  label?: string;
  onChange(pointer: string, value: unknown): void;
}

function Control(props: ControlProps) {
  const { id, field, schema, root, value, pointer, required, invalid, onChange, label } = props;
  const set = (next: unknown): void => onChange(pointer, next);
  const preset = defaultWords(schema) || defaultWords(field.schema);
  const shared = { id, "aria-label": label, "aria-invalid": invalid, "aria-describedby": invalid ? `${id}-faults` : undefined };
  const type = schemaType(field.schema, root);
  switch (field.kind) {
    case "boolean": {
      const standard = schema.default ?? field.schema.default;
      const checked = value === undefined ? standard === true : value === true;
      return <input {...shared} type="checkbox" checked={checked} onChange={({ currentTarget }) => set(currentTarget.checked === standard ? undefined : currentTarget.checked)} />;
    }
    case "enum": {
      const known = value === undefined || field.options.includes(value);
      return (
        <select {...shared} value={value === undefined ? "" : JSON.stringify(value)} onChange={({ currentTarget }) => set(currentTarget.value ? (JSON.parse(currentTarget.value) as unknown) : undefined)}>
          <option value="">{required ? "Choose…" : preset ? `Default: ${preset}` : "Not set"}</option>
          {!known && <option value={JSON.stringify(value)}>{JSON.stringify(value)}</option>}
          {field.options.map((one) => (
            <option value={JSON.stringify(one)}>{typeof one === "string" ? one : JSON.stringify(one)}</option>
          ))}
        </select>
      );
    }
    case "number":
      return <NumberInput shared={shared} value={value} placeholder={preset || type} onSet={set} />;
    case "secret": {
      const text = typeof value === "string" ? value : "";
      const named = !text || text.startsWith("$");
      const input = { ...shared, autocomplete: "off", spellcheck: false, placeholder: "${NAME}", value: text };
      const onInput = ({ currentTarget }: { currentTarget: HTMLInputElement }): void => set(currentTarget.value || undefined);
      return named ? <input {...input} type="text" onInput={onInput} /> : <input {...input} type="password" onInput={onInput} />;
    }
    case "text": {
      const text = typeof value === "string" ? value : value === undefined ? "" : JSON.stringify(value);
      const onInput = ({ currentTarget }: { currentTarget: HTMLInputElement | HTMLTextAreaElement }): void => set(currentTarget.value || (required ? "" : undefined));
      const short = Number(field.schema["maxLength"] ?? Infinity) <= 300 || field.schema["pattern"] || field.schema["format"];
      if (short) return <input {...shared} value={text} placeholder={preset} spellcheck={false} autocomplete="off" onInput={onInput} />;
      return <textarea {...shared} class="form-text" rows={1} value={text} placeholder={preset} spellcheck={false} onInput={onInput} />;
    }
    default:
      return <JsonInput shared={shared} value={value} placeholder={preset || type} onSet={set} />;
  }
}

interface InputProps {
  shared: { id: string; "aria-invalid": boolean };
  value: unknown;
  placeholder: string;
  onSet(value: unknown): void;
}

/** Keeps what was typed, such as "1." or "1e", while it means the present value. */
function NumberInput({ shared, value, placeholder, onSet }: InputProps) {
  const [typed, setTyped] = useState("");
  const text = numberOf(typed) === value ? typed : value === undefined ? "" : typeof value === "string" ? value : JSON.stringify(value);
  return (
    <input
      {...shared}
      inputMode="decimal"
      autocomplete="off"
      value={text}
      placeholder={placeholder}
      onInput={({ currentTarget }) => (setTyped(currentTarget.value), onSet(numberOf(currentTarget.value)))}
    />
  );
}

/** The value follows the text while that is JSON. */
function JsonInput({ shared, value, placeholder, onSet }: InputProps) {
  const shown = value === undefined ? "" : JSON.stringify(value, null, 2);
  const [draft, setDraft] = useState(shown);
  const [wrong, setWrong] = useState("");
  const sent = useRef(shown);
  useEffect(() => {
    if (shown === sent.current) return;
    sent.current = shown;
    setDraft(shown);
    setWrong("");
  }, [shown]);
  const take = (text: string): void => {
    setDraft(text);
    try {
      const next: unknown = text.trim() ? JSON.parse(text) : undefined;
      sent.current = next === undefined ? "" : JSON.stringify(next, null, 2);
      setWrong("");
      onSet(next);
    } catch (error) {
      setWrong((error as Error).message);
    }
  };
  return (
    <>
      <textarea
        {...shared}
        aria-invalid={shared["aria-invalid"] || wrong !== ""}
        class="form-text mono"
        rows={1}
        value={draft}
        placeholder={placeholder === "any value" ? "JSON" : `${placeholder}, as JSON`}
        spellcheck={false}
        onInput={({ currentTarget }) => take(currentTarget.value)}
      />
      {wrong && <span class="form-wrong">This is not JSON yet: {wrong}</span>}
    </>
  );
}

function ListField({ caption, label, ...props }: ControlProps & { label: string; caption: preact.ComponentChildren }) {
  const { field, value, pointer, id, onChange } = props;
  const items = Array.isArray(value) ? (value as unknown[]) : [];
  const set = (next: unknown[]): void => onChange(pointer, next.length ? next : undefined);
  const item = field.item!;
  const first = item.kind === "number" ? 0 : item.kind === "boolean" ? false : item.kind === "enum" ? item.options[0] : "";
  return (
    <fieldset class="form-list" id={id}>
      <legend class="label">{caption}</legend>
      {items.map((one, index) => (
        <div class="form-item" key={index}>
          <Control
            {...props}
            id={`${id}-${index}`}
            label={`${label} ${index + 1}`}
            field={item}
            schema={item.schema}
            value={one}
            required
            pointer={join(pointer, index)}
            onChange={(_, next) => set(items.map((old, place) => (place === index ? (next ?? first) : old)))}
          />
          <button type="button" class="button quiet icon-only small" aria-label={`Remove ${label} ${index + 1}`} onClick={() => set(items.filter((_, place) => place !== index))}>
            <Icon name="close" size={15} />
          </button>
        </div>
      ))}
      <button type="button" class="button quiet small start" onClick={() => set([...items, first])}>
        <Icon name="plus" size={15} />
        Add to {label}
      </button>
    </fieldset>
  );
}
