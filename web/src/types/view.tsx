/** Node types. */
export function NodeTypesView() {
  return (
    <div class="page">
      <h1>Node types</h1>
    </div>
  );
}
