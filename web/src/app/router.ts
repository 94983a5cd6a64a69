/** The address of a view is the fragment: `#/runs/ID?tab=log`. */
import { signal } from "@preact/signals";

export interface Route {
  /** The parts of the path, decoded; the first one names the view. */
  parts: string[];
  query: URLSearchParams;
}

function parse(hash: string): Route {
  const [path = "", query = ""] = hash.replace(/^#\/?/, "").split("?", 2);
  return { parts: path.split("/").filter(Boolean).map(decoded), query: new URLSearchParams(query) };
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

export const route = signal<Route>(parse(location.hash));

addEventListener("hashchange", () => {
  route.value = parse(location.hash);
});

/** The address of a view, for `href`. */
export function href(...parts: string[]): string {
  return "#/" + parts.map(encodeURIComponent).join("/");
}

export function go(...parts: string[]): void {
  location.hash = href(...parts);
}

/** Goes to a view in place of the present one: the browser's history does not keep that. */
export function replace(...parts: string[]): void {
  history.replaceState(null, "", href(...parts));
  route.value = { parts, query: new URLSearchParams() };
}

/** Goes to a view at once; after `go` the route moves with a later event. */
export function push(...parts: string[]): void {
  history.pushState(null, "", href(...parts));
  route.value = { parts, query: new URLSearchParams() };
}

/** Changes one field of the query without a new entry of the browser's history. */
export function setQuery(name: string, value: string): void {
  const query = new URLSearchParams(route.value.query);
  if (value) query.set(name, value);
  else query.delete(name);
  const text = query.toString();
  history.replaceState(null, "", href(...route.value.parts) + (text ? `?${text}` : ""));
  route.value = { parts: route.value.parts, query };
}
