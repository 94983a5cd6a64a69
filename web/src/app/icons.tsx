/** Icons of 20 by 20, drawn with the colour of the text. They are decoration: the words beside them are the name. */
const PATHS = {
  run: "M4 5h4c4 0 4 10 8 10M4 15h4c1.6 0 2.6-1.5 3.5-3.4M13 5.6C13.7 5.2 14.6 5 16 5",
  chat: "M4 5.5A1.5 1.5 0 0 1 5.5 4h9A1.5 1.5 0 0 1 16 5.5v6a1.5 1.5 0 0 1-1.5 1.5H9l-4 3.5V13A1.5 1.5 0 0 1 4 11.5z",
  runs: "M4 5h12M4 10h12M4 15h8",
  deployments: "M10 3.5 16 7v6l-6 3.5L4 13V7zM4 7l6 3.5L16 7M10 10.5v6",
  types: "M4 4h5v5H4zM11 4h5v5h-5zM4 11h5v5H4zM13.5 11v5M11 13.5h5",
  servers: "M4 4h12v5H4zM4 11h12v5H4zM7 6.5h.01M7 13.5h.01",
  editor: "M4 16l1-4 8-8 3 3-8 8zM11.5 5.5l3 3",
  sun: "M10 6.5a3.5 3.5 0 1 0 0 7 3.5 3.5 0 0 0 0-7M10 2v1.5M10 16.5V18M2 10h1.5M16.5 10H18M4.3 4.3l1.1 1.1M14.6 14.6l1.1 1.1M4.3 15.7l1.1-1.1M14.6 5.4l1.1-1.1",
  moon: "M16 11.5A6.5 6.5 0 0 1 8.5 4a6.5 6.5 0 1 0 7.5 7.5",
  help: "M7.5 7.5a2.5 2.5 0 1 1 3.6 2.2c-.8.4-1.1.9-1.1 1.8M10 14.5h.01",
  stop: "M6 6h8v8H6z",
  again: "M15.5 8A6 6 0 1 0 16 11M16 4v4h-4",
  check: "M4.5 10.5l3.5 3.5 7.5-8",
  close: "M5 5l10 10M15 5L5 15",
  chevron: "M7 4.5l6 5.5-6 5.5",
  tool: "M12.5 4a3.5 3.5 0 0 0-3.3 4.7L4 14l2 2 5.3-5.2A3.5 3.5 0 0 0 16 7.5L13.8 9.7 10.3 6.2 12.5 4z",
  thought: "M7 15h6M8 17.5h4M6.8 12.5A5 5 0 1 1 13.2 12.5c-.5.4-.7.9-.7 1.5h-5c0-.6-.2-1.1-.7-1.5z",
  hand: "M6 10V6.2a1.2 1.2 0 0 1 2.4 0V9M8.4 9V4.7a1.2 1.2 0 0 1 2.4 0V9M10.8 9V5.5a1.2 1.2 0 0 1 2.4 0v6M13.2 8.5a1.2 1.2 0 0 1 2.3.5v3.5A5 5 0 0 1 10.5 17.5 5 5 0 0 1 6.4 15.2L4.2 11.7a1.2 1.2 0 0 1 1.8-1.5z",
  alert: "M10 3.5 17.5 16.5H2.5zM10 8.5v3.5M10 14.3h.01",
  download: "M10 3.5v9M6.5 9.5l3.5 3.5 3.5-3.5M4 16.5h12",
  upload: "M10 13V4M6.5 7.5 10 4l3.5 3.5M4 16.5h12",
  plus: "M10 4v12M4 10h12",
  fit: "M4 8V4h4M16 8V4h-4M4 12v4h4M16 12v4h-4",
  search: "M9 4a5 5 0 1 0 0 10A5 5 0 0 0 9 4M13 13l3.5 3.5",
  copy: "M7 7h9v9H7zM4 13V4h9",
  menu: "M3.5 6h13M3.5 10h13M3.5 14h13",
  send: "M10 16V4M5 9l5-5 5 5",
  edit: "M4 16l1-4 8-8 3 3-8 8z",
  trash: "M4.5 6h11M8 6V4h4v2M6 6l.7 10.5h6.6L14 6",
  microphone: "M10 3.5a2 2 0 0 1 2 2V10a2 2 0 0 1-4 0V5.5a2 2 0 0 1 2-2M5.5 9.5a4.5 4.5 0 0 0 9 0M10 14v3",
  attach: "M15.5 9.5 10 15a3.3 3.3 0 0 1-4.7-4.7l6-6a2.2 2.2 0 0 1 3.1 3.1l-5.8 5.8a1 1 0 0 1-1.5-1.5L12 6.8",
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({ name, size = 20 }: { name: IconName; size?: number }) {
  return (
    <svg class="icon" width={size} height={size} viewBox="0 0 20 20" aria-hidden="true" focusable="false">
      <path d={PATHS[name]} />
    </svg>
  );
}
