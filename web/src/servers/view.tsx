/** Servers. */
export function ServersView() {
  return (
    <div class="page">
      <h1>Servers</h1>
    </div>
  );
}
