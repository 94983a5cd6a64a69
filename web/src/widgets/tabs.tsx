/** Tabs by the pattern of WAI-ARIA: arrow keys move between them. */

export interface Tab {
  name: string;
  title: string;
  count?: number;
}

export function Tabs({ tabs, current, label, onSelect }: { tabs: readonly Tab[]; current: string; label: string; onSelect(name: string): void }) {
  const move = (event: KeyboardEvent): void => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const index = tabs.findIndex((one) => one.name === current);
    const next = tabs[(index + step + tabs.length) % tabs.length]!;
    onSelect(next.name);
    document.getElementById(`tab-${next.name}`)?.focus();
  };
  return (
    <div class="tabs" role="tablist" aria-label={label} onKeyDown={move}>
      {tabs.map((one) => (
        <button
          key={one.name}
          id={`tab-${one.name}`}
          role="tab"
          aria-selected={one.name === current}
          aria-controls={`panel-${one.name}`}
          tabIndex={one.name === current ? 0 : -1}
          onClick={() => onSelect(one.name)}
        >
          {one.title}
          {one.count !== undefined && one.count > 0 && <span class="tab-count number">{one.count > 999 ? "999+" : one.count}</span>}
        </button>
      ))}
    </div>
  );
}
