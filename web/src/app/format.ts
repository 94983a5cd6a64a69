/** Numbers and times as people read them. */

const counts = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const compacts = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

export const count = (value: number): string => (value < 10_000 ? counts.format(value) : compacts.format(value));

export function plural(value: number, one: string, many = one + "s"): string {
  return `${count(value)} ${value === 1 ? one : many}`;
}

export function bytes(value: number): string {
  if (value < 1024) return `${value} B`;
  const units = ["KiB", "MiB", "GiB", "TiB"];
  let scaled = value / 1024;
  let unit = 0;
  while (scaled >= 1024 && unit < units.length - 1) (scaled /= 1024), unit++;
  return `${scaled < 10 ? scaled.toFixed(1) : Math.round(scaled)} ${units[unit]}`;
}

export function rate(value: number): string {
  if (value === 0) return "0/s";
  return `${value < 10 ? value.toFixed(1) : count(Math.round(value))}/s`;
}

export function seconds(value: number): string {
  if (value === 0) return "0 s";
  if (value < 0.001) return `${Math.round(value * 1e6)} µs`;
  if (value < 1) return `${Math.round(value * 1000)} ms`;
  if (value < 60) return `${value < 10 ? value.toFixed(1) : Math.round(value)} s`;
  const minutes = Math.floor(value / 60);
  if (minutes < 60) return `${minutes} min ${Math.floor(value % 60)} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

export const percent = (fraction: number): string => `${Math.round(fraction * 100)}\u00a0%`;

/** A time of today as 14:03:22, another one with its date. */
export function clock(time: string | undefined): string {
  if (!time) return "";
  const date = new Date(time);
  const today = date.toDateString() === new Date().toDateString();
  const text = date.toLocaleTimeString("en-GB");
  return today ? text : `${date.toLocaleDateString("en-GB", { day: "numeric", month: "short" })} ${text}`;
}

export function ago(time: string | undefined, now = Date.now()): string {
  if (!time) return "";
  const past = Math.max(0, (now - Date.parse(time)) / 1000);
  if (past < 5) return "just now";
  if (past < 60) return `${Math.floor(past)} s ago`;
  if (past < 3600) return `${Math.floor(past / 60)} min ago`;
  if (past < 86_400) return `${Math.floor(past / 3600)} h ago`;
  return `${Math.floor(past / 86_400)} d ago`;
}

/** Seconds between two times; to now if the second is missing. */
export function between(from: string | undefined, to: string | undefined): number {
  return from ? Math.max(0, ((to ? Date.parse(to) : Date.now()) - Date.parse(from)) / 1000) : 0;
}
