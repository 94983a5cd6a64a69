/** Short messages at the edge of the page: what an action did, or why it failed. */
import { signal } from "@preact/signals";
import { Icon } from "./icons.tsx";

interface Notice {
  id: number;
  text: string;
  bad: boolean;
}

const MOST = 4;
const notices = signal<readonly Notice[]>([]);
let next = 1;

export function notify(text: string, bad = false): void {
  const notice = { id: next++, text, bad };
  notices.value = [...notices.value.slice(1 - MOST), notice];
  setTimeout(() => dismiss(notice.id), bad ? 12_000 : 4_000);
}

/** Shows the error of an action. */
export function notifyError(error: unknown): void {
  notify(error instanceof Error ? error.message : String(error), true);
}

function dismiss(id: number): void {
  notices.value = notices.value.filter((one) => one.id !== id);
}

export function Notices() {
  return (
    <div class="notices" role="status" aria-live="polite">
      {notices.value.map((one) => (
        <div key={one.id} class={one.bad ? "notice bad" : "notice"}>
          <span>{one.text}</span>
          <button class="button quiet icon-only" onClick={() => dismiss(one.id)} aria-label="Dismiss">
            <Icon name="close" size={16} />
          </button>
        </div>
      ))}
    </div>
  );
}
