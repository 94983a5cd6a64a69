/** The GPUs of the mesh: memory, models, leases with their holders, and the requests that wait. */
import { api } from "../app/api.ts";
import type { Gpu, GpuLease, Gpus } from "../app/catalogue.ts";
import { bytes, plural, seconds } from "../app/format.ts";
import { useResource } from "../app/resource.ts";
import { href } from "../app/router.ts";
import { ErrorLine } from "../widgets/fault_box.tsx";
import { StateBadge } from "../widgets/state_badge.tsx";

const RELOAD = 1_000;

/** Nothing where a mesh has no GPU. */
export function GpuSection() {
  const found = useResource((abort) => api.gpus(abort), [], RELOAD);
  const gpus = found.value;
  if (!gpus?.devices.length) return <ErrorLine error={found.error} />;
  return (
    <section class="gpus" aria-label="GPUs">
      <header class="page-head">
        <h2>GPUs</h2>
        <span class="soft">{plural(gpus.devices.length, "device")}</span>
      </header>
      <ErrorLine error={found.error} />
      <ul class="card-list">
        {gpus.devices.map((one) => (
          <li key={one.id}>
            <GpuCard gpu={one} gpus={gpus} />
          </li>
        ))}
      </ul>
      {gpus.waiting.length > 0 && (
        <article class="card" aria-label="Queue">
          <h3>{plural(gpus.waiting.length, "request")} waiting</h3>
          <Leases leases={gpus.waiting} />
        </article>
      )}
    </section>
  );
}

function GpuCard({ gpu, gpus }: { gpu: Gpu; gpus: Gpus }) {
  const used = gpu.memory_bytes - gpu.free_bytes;
  const other = gpu.observed && gpu.other_bytes > 0 ? `, ${bytes(gpu.other_bytes)} of others` : "";
  return (
    <article class="card" aria-label={gpu.id}>
      <header>
        <h3>{gpu.id}</h3>
        <span class="soft">{gpu.name}</span>
      </header>
      <div class="load">
        <span class="number">
          {bytes(used)} of {bytes(gpu.memory_bytes)}
          <span class="soft">
            : {bytes(gpu.leased_bytes)} leased, {bytes(gpu.model_bytes)} of models{other}
          </span>
        </span>
        <meter min={0} max={gpu.memory_bytes} value={used} aria-label={`Memory of ${gpu.id}`} />
      </div>
      <Leases leases={gpus.leases.filter((one) => one.device === gpu.id && one.state !== "kept")} />
      {gpu.models.length > 0 && (
        <ul class="lease-list">
          {gpu.models.map((one) => (
            <li>
              <span class="mono">{one.name}</span>{" "}
              <span class="soft number">
                {bytes(one.memory_bytes)},{" "}
                {one.unloading ? "is being unloaded" : one.idle_seconds === null ? "in use" : `idle for ${seconds(one.idle_seconds)}`}
              </span>
            </li>
          ))}
        </ul>
      )}
    </article>
  );
}

function Leases({ leases }: { leases: GpuLease[] }) {
  return (
    <ul class="lease-list">
      {leases.map((one) => (
        <li key={one.id}>
          <StateBadge state={one.state} />{" "}
          {one.run_id ? <a href={href("runs", one.run_id)}>{one.component || one.run_id}</a> : one.component || "somebody"}{" "}
          <span class="soft number">
            {one.peak_bytes ? bytes(one.peak_bytes) : "all memory"}, {one.position ? "waits" : "held"} for {seconds(one.seconds)}
            {one.eta_seconds !== null && `, about ${seconds(one.eta_seconds)} more`}
            {one.purpose && `: ${one.purpose}`}
          </span>
          {one.reason && <p class="soft">{one.reason}</p>}
        </li>
      ))}
    </ul>
  );
}
