/** What a connection that is being made may begin and end at, as buttons: the way without a pointer. */
import { useLayoutEffect, useRef } from "preact/hooks";
import { portKey, portName, type NodePort } from "./ports.ts";
import { editor } from "./store.ts";

export function ConnectBar() {
  const bar = useRef<HTMLDivElement>(null);
  const pending = editor.pending.value;
  const key = pending && (portKey(pending.port) || pending.component);
  useLayoutEffect(() => {
    if (key) bar.current?.querySelector<HTMLElement>("button")?.focus();
  }, [key]);
  if (!pending) return null;
  const { port, component } = pending;
  const wiring = editor.wiring.value;
  const choices = port ? wiring.targets(port) : wiring.starts(component);
  const choose = (one: NodePort): void => {
    if (port) editor.connect(port, one);
    else editor.pending.value = { component, port: one };
  };
  const title = !port ? `Connect which port of ${component}?` : port.kind === "invokes" ? `${component} calls as ${port.name}` : `${component}.${port.name} goes to`;
  return (
    <div class="connect-bar" ref={bar} role="group" aria-label={title} onKeyDown={(event) => moveFocus(event, bar.current)}>
      <span>{title}</span>
      {choices.map((one) => (
        <button key={portKey(one)} class="button small" onClick={() => choose(one)}>
          {port ? portName(one) : `${one.name}${one.kind === "invokes" ? " (helper)" : ""}`}
        </button>
      ))}
      {!choices.length && <span class="soft">Nothing fits{port ? ` ${port.kind === "invokes" ? `a helper of the kind ${port.name}` : `the lane ${port.lane || port.name}`}` : ""}.</span>}
      <button class="button quiet small" onClick={() => (editor.pending.value = undefined)}>
        Cancel
      </button>
    </div>
  );
}

function moveFocus(event: KeyboardEvent, bar: HTMLElement | null): void {
  if (event.key === "Escape") return void (event.stopPropagation(), (editor.pending.value = undefined));
  const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
  const buttons = [...(bar?.querySelectorAll("button") ?? [])];
  if (!step || !buttons.length) return;
  event.preventDefault();
  const at = buttons.indexOf(document.activeElement as HTMLButtonElement);
  buttons[(at + step + buttons.length) % buttons.length]?.focus();
}
