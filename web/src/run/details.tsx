/** What is known of the selected node or edge. */
import type { ComponentChildren } from "preact";
import { bytes, clock, count, percent, rate, seconds } from "../app/format.ts";
import { Icon } from "../app/icons.tsx";
import { href } from "../app/router.ts";
import { FaultBox } from "../widgets/fault_box.tsx";
import { JsonTree } from "../widgets/json_tree.tsx";
import { StateBadge } from "../widgets/state_badge.tsx";
import { ValueView } from "../widgets/value.tsx";
import type { Selection } from "./graph.tsx";
import { edgeName } from "./graph_parts.tsx";
import { waitsFor } from "./holdup.ts";
import type { EdgeModel, NodeModel, RunModel } from "./run_model.ts";
import { useTick } from "./run_store.ts";

interface DetailsProps {
  model: RunModel;
  selection: Selection;
  onSelect(selection: Selection): void;
}

export function Details({ model, selection, onSelect }: DetailsProps) {
  const node = selection?.kind === "node" ? model.nodes.get(selection.id) : undefined;
  const edge = selection?.kind === "edge" ? model.edges.get(selection.id) : undefined;
  if (!node && !edge) return null;
  return (
    <aside class="details" aria-label="Details of the selection">
      <header>
        <div class="grow">
          <h2 class="mono">{node ? node.id : edgeName(edge!)}</h2>
          {node && (
            <a class="soft" href={href("types", node.provider)}>
              {node.provider}
            </a>
          )}
        </div>
        <button class="button quiet icon-only small" aria-label="Close the details" onClick={() => onSelect(undefined)}>
          <Icon name="close" size={16} />
        </button>
      </header>
      {node ? <NodeDetails model={model} node={node} onSelect={onSelect} /> : <EdgeDetails model={model} edge={edge!} onSelect={onSelect} />}
    </aside>
  );
}

function NodeDetails({ model, node, onSelect }: { model: RunModel; node: NodeModel; onSelect(selection: Selection): void }) {
  useTick(model);
  const component = model.document?.components.find((one) => one.id === node.id);
  const edges = [...model.edges.values()];
  const total = node.busy + node.waiting + node.blocked;
  const waits = waitsFor(model, node);
  const time = (value: number): string => `${seconds(value)}${total ? ` (${percent(value / total)})` : ""}`;
  return (
    <>
      {node.error && <FaultBox fault={node.error} title={node.error.secondary ? "Failed as a consequence" : "Failed"} />}
      <Pairs>
        <Pair name="State">
          <StateBadge state={node.state} /> {node.detail && <span class="soft">{node.detail}</span>}
        </Pair>
        {waits.length > 0 && <Pair name="Waits for">{waits.join(", ")}</Pair>}
        <Pair name="Firings">
          {count(node.firings)}
          {node.retriedFirings > 0 && `, ${count(node.retriedFirings)} retries`}
          {node.skippedFirings > 0 && `, ${count(node.skippedFirings)} skipped`}
        </Pair>
        {total > 0 && (
          <>
            <Pair name="Busy">{time(node.busy)}</Pair>
            <Pair name="Waiting">{time(node.waiting)}</Pair>
            <Pair name="Blocked">{time(node.blocked)}</Pair>
          </>
        )}
        {node.progress && (
          <Pair name="Progress">
            {count(node.progress.done)}
            {node.progress.total ? ` of ${count(node.progress.total)}` : ""} {node.progress.message}
          </Pair>
        )}
        {node.helper && (
          <Pair name="Calls">
            {count(node.helper.calls)}
            {node.helper.active_calls ? `, ${node.helper.active_calls} in progress` : ""}
            {node.helper.failed_calls ? `, ${node.helper.failed_calls} failed` : ""}
          </Pair>
        )}
        {node.helper?.prompt_tokens !== undefined && (
          <Pair name="Tokens">
            {count(node.helper.prompt_tokens)} in, {count(node.helper.completion_tokens ?? 0)} out
          </Pair>
        )}
        {node.placement && (
          <Pair name="Server">
            {node.placement.server}
            <span class="faint">
              {node.placement.address && ` ${node.placement.address}`}
              {node.placement.pid ? ` · pid ${node.placement.pid}` : ""}
            </span>
            {node.placement.earlier?.length ? <span class="soft"> · before on {node.placement.earlier.map((one) => one.server).join(", ")}</span> : null}
          </Pair>
        )}
      </Pairs>
      <EdgeList title="Inputs" edges={edges.filter((one) => one.shape.consumer === node.id)} onSelect={onSelect} />
      <EdgeList title="Outputs" edges={edges.filter((one) => one.shape.producer === node.id)} onSelect={onSelect} />
      {component?.config && Object.keys(component.config).length > 0 && (
        <section>
          <h3>Config</h3>
          <JsonTree value={component.config} open={1} />
        </section>
      )}
    </>
  );
}

function EdgeList({ title, edges, onSelect }: { title: string; edges: EdgeModel[]; onSelect(selection: Selection): void }) {
  if (!edges.length) return null;
  return (
    <section>
      <h3>{title}</h3>
      <ul class="edge-list">
        {edges.map((edge) => (
          <li key={edge.id}>
            <button onClick={() => onSelect({ kind: "edge", id: edge.id })}>
              <span class="ellipsis">{edgeName(edge)}</span>
              {!edge.shape.class_type && <span class="number soft">{count(edge.consumed)}</span>}
            </button>
          </li>
        ))}
      </ul>
    </section>
  );
}

function EdgeDetails({ model, edge, onSelect }: { model: RunModel; edge: EdgeModel; onSelect(selection: Selection): void }) {
  useTick(model);
  const { shape } = edge;
  const traces = edge.traces.all().slice(-20).reverse();
  return (
    <>
      <Pairs>
        <Pair name="From">
          <NodeLink id={shape.producer} onSelect={onSelect} />
          {shape.output && <span class="soft"> {shape.output}</span>}
        </Pair>
        <Pair name="To">
          <NodeLink id={shape.consumer} onSelect={onSelect} />
          {shape.input && <span class="soft"> {shape.input}</span>}
        </Pair>
        <Pair name="Type">{shape.class_type ? `control connection, ${shape.class_type}` : shape.lane}</Pair>
        {!shape.class_type && (
          <>
            <Pair name="Sent">{count(edge.sent)}</Pair>
            <Pair name="Taken">{count(edge.consumed)}</Pair>
            <Pair name="In the lane">
              {count(edge.buffered)} {edge.limit ? `of ${count(edge.limit)}` : ""}
              {edge.drained && <span class="soft"> · ended</span>}
            </Pair>
            {!edge.drained && <Pair name="Rate">{rate(edge.rate)}</Pair>}
            {edge.growths > 0 && <Pair name="Grown">{edge.growths} times, to resolve a deadlock</Pair>}
          </>
        )}
        {edge.detail && <Pair name="Note">{edge.detail}</Pair>}
      </Pairs>
      <section>
        <h3>Last items</h3>
        {!traces.length && <p class="soft">Items are shown for runs that are traced. Run it again with the trace of items.</p>}
        <ol class="traces">
          {traces.map((trace) => (
            <li key={trace.sequence}>
              <span class="faint number">
                {trace.number !== undefined ? `#${trace.number} · ` : ""}
                {trace.size !== undefined ? `${bytes(trace.size)} · ` : ""}
                {clock(trace.time)}
              </span>
              {trace.value !== undefined ? (
                <ValueView value={trace.value} {...(trace.lane ? { lane: trace.lane } : {})} />
              ) : (
                <pre class="plain">{trace.summary ?? (trace.left_out ? `${trace.left_out} items were not reported` : "")}</pre>
              )}
            </li>
          ))}
        </ol>
      </section>
    </>
  );
}

function NodeLink({ id, onSelect }: { id: string; onSelect(selection: Selection): void }) {
  return (
    <button class="link mono" onClick={() => onSelect({ kind: "node", id })}>
      {id}
    </button>
  );
}

function Pairs({ children }: { children: ComponentChildren }) {
  return <dl class="pairs">{children}</dl>;
}

function Pair({ name, children }: { name: string; children: ComponentChildren }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd class="number">{children}</dd>
    </div>
  );
}
