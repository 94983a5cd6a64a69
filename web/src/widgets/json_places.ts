/** Where the values of a JSON text are, by their JSON pointers. */

export interface Place {
  from: number;
  to: number;
}

const SPACE = /[\s]*/y;
const ATOM = /"(?:[^"\\]|\\.)*"|[^\s,\]}]+/y;

/** The places of all values of a valid JSON text; undefined if it is not one. */
export function placesOf(text: string): Map<string, Place> | undefined {
  const places = new Map<string, Place>();
  let at = 0;
  const skip = (): void => {
    SPACE.lastIndex = at;
    SPACE.exec(text);
    at = SPACE.lastIndex;
  };
  const atom = (): string => {
    ATOM.lastIndex = at;
    const found = ATOM.exec(text);
    if (!found) throw new SyntaxError();
    at = ATOM.lastIndex;
    return found[0];
  };
  const value = (pointer: string): void => {
    skip();
    const from = at;
    const close = { "{": "}", "[": "]" }[text[at] ?? ""];
    if (!close) atom();
    else {
      at++;
      for (let index = 0; ; index++) {
        skip();
        if (text[at] === close) break;
        if (index) at++; // the comma
        skip();
        let name = String(index);
        if (close === "}") {
          name = (JSON.parse(atom()) as string).replaceAll("~", "~0").replaceAll("/", "~1");
          skip();
          at++; // the colon
        }
        value(`${pointer}/${name}`);
      }
      at++;
    }
    places.set(pointer, { from, to: at });
  };
  try {
    JSON.parse(text);
    value("");
    return places;
  } catch {
    return undefined;
  }
}

/** The place of a pointer, or of the nearest value around it that is there. */
export function placeOf(places: Map<string, Place>, pointer: string): Place {
  for (let path = pointer; path; path = path.slice(0, path.lastIndexOf("/"))) {
    const found = places.get(path);
    if (found) return found;
  }
  return places.get("") ?? { from: 0, to: 0 };
}

/** The number of the line of an offset, from 1. */
export function lineAt(text: string, offset: number): number {
  let line = 1;
  for (let at = text.indexOf("\n"); at >= 0 && at < offset; at = text.indexOf("\n", at + 1)) line++;
  return line;
}
