/** Deployments. */
export function DeploymentsView() {
  return (
    <div class="page">
      <h1>Deployments</h1>
    </div>
  );
}
