/** The node types of the mesh: ports, settings, helpers, and what each one does. */
import { useMemo } from "preact/hooks";
import { api } from "../app/api.ts";
import { firstLine, typesWith, type JsonSchema, type NodeType, type Port } from "../app/catalogue.ts";
import { grouped } from "../app/grouped.ts";
import { useResource } from "../app/resource.ts";
import { href, route, setQuery } from "../app/router.ts";
import { useShortcuts } from "../app/shortcuts.tsx";
import { Empty, Loading } from "../widgets/empty.tsx";
import { ErrorLine } from "../widgets/fault_box.tsx";
import { Code, Markdown } from "../widgets/markdown.tsx";
import { schemaType } from "../widgets/schema.ts";
import "./types.css";

export function NodeTypesView({ parts }: { parts: string[] }) {
  const found = useResource((abort) => api.nodeTypes(abort), []);
  const text = route.value.query.get("text") ?? "";
  const types = useMemo(() => typesWith(found.value?.node_types ?? [], text), [found.value, text]);
  const services = [...grouped(types, (one) => one.service || "other")].sort(([a], [b]) => a.localeCompare(b));
  const wanted = parts[0];
  const current = found.value?.node_types.find((one) => one.provider === wanted || one.aliases?.includes(wanted ?? ""));
  useShortcuts([{ keys: "/", label: "Search the node types", run: () => document.getElementById("types-text")?.focus() }]);
  return (
    <div class="page">
      <header class="page-head">
        <h1>Node types</h1>
      </header>
      <ErrorLine error={found.error} />
      {!found.value && !found.error && <Loading />}
      {found.value && (
        <div class={wanted ? "types with-type" : "types"}>
          <nav class="types-list" aria-label="Node types">
            <input
              id="types-text"
              type="search"
              placeholder="Name, lane or words"
              aria-label="Search the node types"
              value={text}
              onInput={(event) => setQuery("text", event.currentTarget.value)}
            />
            {!types.length && <p class="soft">Nothing matches.</p>}
            {services.map(([service, list]) => (
              <section key={service}>
                <h2>{service}</h2>
                <ul>
                  {list.map((one) => (
                    <li key={one.provider}>
                      <a href={href("types", one.provider)} aria-current={one === current ? "page" : undefined}>
                        <span class="mono">{one.provider}</span>
                        <span class="soft ellipsis">{firstLine(one.description)}</span>
                      </a>
                    </li>
                  ))}
                </ul>
              </section>
            ))}
          </nav>
          {current && <TypePage type={current} />}
          {wanted && !current && <Empty title={`There is no node type ${wanted}`} />}
        </div>
      )}
    </div>
  );
}

function TypePage({ type }: { type: NodeType }) {
  const settings = Object.entries(type.config_schema?.properties ?? {});
  const required = new Set(type.config_schema?.required ?? []);
  return (
    <article class="card type-page">
      <header>
        <div>
          <a class="back" href={href("types")}>
            All node types
          </a>
          <h2 class="mono">{type.provider}</h2>
        </div>
        <span class="badge idle">{type.boundary ? type.boundary : (type.service ?? "")}</span>
      </header>
      <Markdown text={type.description ?? ""} />
      {type.aliases && <p class="soft">Also called {type.aliases.join(", ")}.</p>}
      <Ports title="Inputs" ports={type.inputs} />
      <Ports title="Outputs" ports={type.outputs} />
      {type.invokes && (
        <section>
          <h3>Calls helpers</h3>
          <p class="row">
            {type.invokes.map((one) => (
              <span class="badge idle">
                {one.class_type}
                {one.min ? `, at least ${one.min}` : ""}
                {one.max ? `, at most ${one.max}` : ""}
              </span>
            ))}
          </p>
        </section>
      )}
      {type.offers && (
        <section>
          <h3>Serves as</h3>
          <p class="row">
            {type.offers.map((one) => (
              <span class="badge idle">{one}</span>
            ))}
          </p>
        </section>
      )}
      {settings.length > 0 && (
        <section>
          <h3>Settings</h3>
          <dl class="settings">
            {settings.map(([name, schema]) => (
              <Setting key={name} name={name} schema={schema} root={type.config_schema!} required={required.has(name)} />
            ))}
          </dl>
        </section>
      )}
      <section>
        <h3>In a pipeline</h3>
        <Code text={example(type)} language="json" />
      </section>
    </article>
  );
}

function Ports({ title, ports }: { title: string; ports: Port[] | undefined }) {
  if (!ports?.length) return null;
  return (
    <section>
      <h3>{title}</h3>
      <dl class="settings">
        {ports.map((port) => (
          <div key={port.name}>
            <dt>
              <code>{port.name}</code>
              <span class="badge running">{port.lane}</span>
              {port.required && <span class="faint">required</span>}
              {port.list && <span class="faint">collected</span>}
            </dt>
            {port.description && <dd>{port.description}</dd>}
          </div>
        ))}
      </dl>
    </section>
  );
}

function Setting({ name, schema, root, required }: { name: string; schema: JsonSchema; root: JsonSchema; required: boolean }) {
  return (
    <div>
      <dt>
        <code>{name}</code>
        <span class="soft">{schemaType(schema, root)}</span>
        {required ? (
          <span class="faint">required</span>
        ) : (
          schema.default !== undefined && schema.default !== null && <span class="faint mono">= {JSON.stringify(schema.default)}</span>
        )}
      </dt>
      {schema.description && <dd>{schema.description}</dd>}
    </div>
  );
}

function example(type: NodeType): string {
  const input = type.inputs?.filter((one) => one.required).map((one) => ({ lane: one.lane, from: "PRODUCER" })) ?? [];
  const control = !input.length && type.offers?.[0] ? [{ classType: type.offers[0], from: "CALLER" }] : [];
  const entry = {
    id: `${type.provider}_1`,
    provider: type.provider,
    ...(input.length ? { input } : {}),
    ...(control.length ? { control } : {}),
  };
  return JSON.stringify(entry, null, 2);
}
