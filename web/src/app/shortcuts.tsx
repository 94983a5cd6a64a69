/** Keyboard shortcuts: views add theirs while they are shown, and `?` lists all of them. */
import { signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";

export interface Shortcut {
  /** The value of `KeyboardEvent.key`, or "g r" for two keys after each other. */
  keys: string;
  label: string;
  run(): void;
}

const active = signal<readonly Shortcut[]>([]);
export const helpShown = signal(false);
let prefix = "";
let prefixTimer = 0;

export function useShortcuts(shortcuts: Shortcut[], dependencies: readonly unknown[] = []): void {
  useEffect(() => {
    active.value = [...active.value, ...shortcuts];
    return () => {
      active.value = active.value.filter((one) => !shortcuts.includes(one));
    };
  }, dependencies);
}

function takesText(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName));
}

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || takesText(event.target)) return;
  if (document.querySelector("dialog[open]")) return;
  const keys = prefix ? `${prefix} ${event.key}` : event.key;
  const found = active.value.findLast((one) => one.keys === keys);
  clearTimeout(prefixTimer);
  prefix = "";
  if (found) {
    event.preventDefault();
    found.run();
  } else if (active.value.some((one) => one.keys.startsWith(`${event.key} `))) {
    prefix = event.key;
    prefixTimer = window.setTimeout(() => (prefix = ""), 1000);
  }
});

export function ShortcutHelp() {
  const dialog = useRef<HTMLDialogElement>(null);
  const shown = helpShown.value;
  useEffect(() => {
    if (shown) dialog.current?.showModal();
    else dialog.current?.close();
  }, [shown]);
  return (
    <dialog ref={dialog} class="dialog" aria-labelledby="shortcuts-title" onClose={() => (helpShown.value = false)}>
      <header class="dialog-head">
        <h2 id="shortcuts-title">Keyboard shortcuts</h2>
        <form method="dialog">
          <button class="button quiet">Close</button>
        </form>
      </header>
      <dl class="shortcuts">
        {active.value.map((one) => (
          <div key={one.keys}>
            <dt>
              {one.keys.split(" ").map((key) => (
                <kbd>{key}</kbd>
              ))}
            </dt>
            <dd>{one.label}</dd>
          </div>
        ))}
      </dl>
    </dialog>
  );
}
