/** One run, live. */
import { useRun } from "./run_store.ts";

export function RunView({ id }: { id: string }) {
  const store = useRun(id);
  store.clock.tick.value;
  return (
    <div class="page">
      <h1>{store.model.name || id}</h1>
      <p>{store.model.state}</p>
    </div>
  );
}
