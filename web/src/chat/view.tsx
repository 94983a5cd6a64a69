/** Chat. */
export function ChatView({ parts }: { parts: string[] }) {
  return (
    <div class="page">
      <h1>Chat</h1>
      <p>{parts.join(" ")}</p>
    </div>
  );
}
