/** Runs. */
export function RunsView() {
  return (
    <div class="page">
      <h1>Runs</h1>
    </div>
  );
}
