import assert from "node:assert/strict";
import { test } from "node:test";
import { lineAt, placeOf, placesOf } from "../src/widgets/json_places.ts";

const TEXT = '{\n  "a/b": [1, {"c": "x]\\"}"}, []],\n  "d": null\n}\n';

test("each value is found by its pointer", () => {
  const places = placesOf(TEXT)!;
  const at = (pointer: string): string => {
    const place = places.get(pointer)!;
    return TEXT.slice(place.from, place.to);
  };
  assert.equal(at("/a~1b/0"), "1");
  assert.equal(at("/a~1b/1/c"), '"x]\\"}"');
  assert.equal(at("/a~1b/2"), "[]");
  assert.equal(at("/d"), "null");
  assert.equal(lineAt(TEXT, places.get("/d")!.from), 3);
});

test("a pointer to what is missing is placed at what is around it", () => {
  const places = placesOf(TEXT)!;
  assert.deepEqual(placeOf(places, "/a~1b/1/missing/deep"), places.get("/a~1b/1"));
  assert.deepEqual(placeOf(places, "/missing"), places.get(""));
});

test("a text that is not JSON has no places", () => {
  assert.equal(placesOf('{"a": '), undefined);
});
