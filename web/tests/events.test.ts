import assert from "node:assert/strict";
import { test } from "node:test";
import { EventParser } from "../src/app/event_parser.ts";

const STREAM = ': keep-alive\n\nid: 1\ndata: {"a":1}\n\nid: 2\r\nevent: gap\r\ndata: x\r\ndata: y\r\n\r\ndata: ü\n\n';
const EVENTS = [
  { id: "1", event: "message", data: '{"a":1}' },
  { id: "2", event: "gap", data: "x\ny" },
  { id: "2", event: "message", data: "ü" },
];

test("events are parsed alike however the stream is cut", () => {
  for (let size = 1; size <= STREAM.length; size++) {
    const parser = new EventParser();
    const events = [];
    for (let from = 0; from < STREAM.length; from += size) events.push(...parser.push(STREAM.slice(from, from + size)));
    assert.deepEqual(events, EVENTS, `pieces of ${size}`);
  }
});

test("an event that was cut off is not reported", () => {
  assert.deepEqual(new EventParser().push("id: 1\ndata: half"), []);
});
