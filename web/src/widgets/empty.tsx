/** What a list shows while it has nothing: why, and what to do next. */
import type { ComponentChildren } from "preact";

export function Empty({ title, children }: { title: string; children?: ComponentChildren }) {
  return (
    <div class="empty">
      <p class="empty-title">{title}</p>
      {children}
    </div>
  );
}

/** What a list shows until its first answer. */
export function Loading() {
  return (
    <p class="loading" role="status">
      Loading…
    </p>
  );
}
