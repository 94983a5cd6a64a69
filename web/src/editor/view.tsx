/** Editor. */
export function EditorView({ parts }: { parts: string[] }) {
  return (
    <div class="page">
      <h1>Editor</h1>
      <p>{parts.join(" ")}</p>
    </div>
  );
}
