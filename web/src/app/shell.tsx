/** The frame of the page: navigation, theme, help, notices, and the view of the address. */
import { useEffect, useRef } from "preact/hooks";
import { setToken, tokenWanted } from "./http.ts";
import { Icon } from "./icons.tsx";
import { Notices } from "./notices.tsx";
import { go, href, route } from "./router.ts";
import { helpShown, ShortcutHelp, useShortcuts } from "./shortcuts.tsx";
import { isDark, toggleTheme } from "./theme.ts";
import { VIEWS } from "./views.tsx";

export function Shell() {
  const [name = "runs", ...parts] = route.value.parts;
  const view = VIEWS.find((one) => one.name === name);
  useShortcuts([
    ...VIEWS.map((one) => ({ keys: `g ${one.key}`, label: `Go to ${one.title}`, run: () => go(one.name) })),
    { keys: "t", label: "Light or dark", run: toggleTheme },
    { keys: "?", label: "Show this list", run: () => (helpShown.value = true) },
  ]);
  useEffect(() => {
    document.title = view ? `${view.title} · Lanemesh` : "Lanemesh";
  }, [view]);
  return (
    <div class="shell">
      <a class="skip" href="#main" onClick={(event) => (event.preventDefault(), document.getElementById("main")?.focus())}>
        Skip to the content
      </a>
      <Navigation current={name} />
      <main id="main" class="main" tabIndex={-1}>
        {view ? <view.component parts={parts} /> : <Unknown />}
      </main>
      <Notices />
      <ShortcutHelp />
      <TokenDialog />
    </div>
  );
}

function Navigation({ current }: { current: string }) {
  return (
    <nav class="nav" aria-label="Views">
      <a class="brand" href={href("runs")} aria-label="Lanemesh">
        <img src="/assets/icon.svg" width="26" height="26" alt="" />
        <span>Lanemesh</span>
      </a>
      <ul>
        {VIEWS.map((one) => (
          <li key={one.name}>
            <a href={href(one.name)} aria-label={one.title} aria-current={one.name === current ? "page" : undefined}>
              <Icon name={one.icon} />
              <span class="nav-title">{one.title}</span>
              <span class="nav-short" aria-hidden="true">
                {one.short ?? one.title}
              </span>
            </a>
          </li>
        ))}
      </ul>
      <div class="nav-end">
        <button class="button quiet icon-only" onClick={toggleTheme} aria-label={isDark.value ? "Light theme" : "Dark theme"}>
          <Icon name={isDark.value ? "sun" : "moon"} />
        </button>
        <button class="button quiet icon-only" onClick={() => (helpShown.value = true)} aria-label="Keyboard shortcuts">
          <Icon name="help" />
        </button>
      </div>
    </nav>
  );
}

function Unknown() {
  return (
    <div class="page">
      <h1>There is no such view</h1>
      <p>
        <a href={href("runs")}>Go to the runs</a>
      </p>
    </div>
  );
}

function TokenDialog() {
  const dialog = useRef<HTMLDialogElement>(null);
  const wanted = tokenWanted.value;
  useEffect(() => {
    if (wanted) dialog.current?.showModal();
    else dialog.current?.close();
  }, [wanted]);
  const submit = (event: SubmitEvent): void => {
    event.preventDefault();
    setToken(String(new FormData(event.target as HTMLFormElement).get("token") ?? "").trim());
    location.reload();
  };
  return (
    <dialog ref={dialog} class="dialog" aria-labelledby="token-title" onClose={() => (tokenWanted.value = false)}>
      <h2 id="token-title">This gateway wants a token</h2>
      <p>It is the one in the file of its option --token-file. This tab keeps it until it is closed.</p>
      <form onSubmit={submit} class="row">
        <label class="grow">
          <span class="label">Token</span>
          <input name="token" type="password" autocomplete="off" required />
        </label>
        <button class="button primary">Use it</button>
      </form>
    </dialog>
  );
}
