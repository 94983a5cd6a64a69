/** The node servers of the mesh: health, load, labels and node types; and its GPUs. */
import { api } from "../app/api.ts";
import type { Server } from "../app/catalogue.ts";
import { count, plural } from "../app/format.ts";
import { useResource } from "../app/resource.ts";
import { href } from "../app/router.ts";
import "../deployments/deployments.css";
import { Empty, Loading } from "../widgets/empty.tsx";
import { ErrorLine } from "../widgets/fault_box.tsx";
import { StateBadge } from "../widgets/state_badge.tsx";
import { GpuSection } from "./gpus.tsx";
import "./servers.css";

const RELOAD = 2_000;

export function ServersView() {
  const found = useResource((abort) => api.servers(abort), [], RELOAD);
  const servers = found.value?.servers ?? [];
  return (
    <div class="page">
      <header class="page-head">
        <h1>Servers</h1>
        {servers.length > 0 && <span class="soft">{plural(servers.length, "node server")}</span>}
      </header>
      <ErrorLine error={found.error} />
      {!found.value && !found.error && <Loading />}
      {found.value && !servers.length && (
        <Empty title="No node servers">
          <p>
            This mesh runs its nodes in one process. With <code>lanemesh serve</code>, node servers join by{" "}
            <code>lanemesh node SERVICE --orchestrator ADDRESS</code>.
          </p>
        </Empty>
      )}
      <ul class="card-list">
        {servers.map((one) => (
          <li key={one.name}>
            <ServerCard server={one} />
          </li>
        ))}
      </ul>
      <GpuSection />
    </div>
  );
}

function ServerCard({ server }: { server: Server }) {
  const active = server.active_instances ?? 0;
  const most = server.max_instances ?? 0;
  const types = server.node_types ?? [];
  const conflicts = server.conflicting_node_types ?? [];
  return (
    <article class="card" aria-label={server.name}>
      <header>
        <h2>{server.name}</h2>
        <StateBadge state={server.health ?? "serving"} />
      </header>
      <p class="soft number">
        <span class="mono">{server.address}</span>
        {server.pid ? ` · pid ${server.pid}` : ""}
      </p>
      {server.health_detail && <p class="error-line">{server.health_detail}</p>}
      <div class="load">
        <span class="number">
          {plural(active, "component")} {most > 0 ? `of ${count(most)}` : "active"}
        </span>
        {most > 0 && <meter min={0} max={most} high={most * 0.8} value={active} aria-label={`Load of ${server.name}`} />}
      </div>
      {Object.keys(server.labels ?? {}).length > 0 && (
        <p class="row">
          {Object.entries(server.labels!).map(([name, value]) => (
            <span class="badge idle">
              {name}={value}
            </span>
          ))}
        </p>
      )}
      {conflicts.length > 0 && <p class="error-line">Other servers have other versions of {conflicts.join(", ")}.</p>}
      <details>
        <summary class="soft">{plural(types.length, "node type")}</summary>
        <p class="type-links">
          {types.map((one) => (
            <a class="mono" href={href("types", one)}>
              {one}
            </a>
          ))}
        </p>
      </details>
    </article>
  );
}
