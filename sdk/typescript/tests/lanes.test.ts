/** The parts of lanes that need no server. */

import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { encodeValue, ITEM_OVERHEAD_BYTES } from "../src/codec.js";
import { LanemeshError } from "../src/errors.js";
import { ExchangeRequestSchema } from "../src/gen/lanemesh/v1/lane_pb.js";
import { Inbox } from "../src/lanes/inbox.js";
import { exchangeOfBytes, itemsOf, plainTexts, readItems, readPlainTexts } from "../src/lanes/plain-texts.js";
import { Reading } from "../src/node/reading.js";
import { Waits } from "../src/node/waits.js";

/** What a receiver gets of a frame. */
function received(bytes: Uint8Array): Uint8Array {
  return itemsOf(fromBinary(exchangeOfBytes.input, bytes)) ?? new Uint8Array();
}

function frameOf(...texts: string[]) {
  return create(ExchangeRequestSchema, {
    frame: { case: "items", value: { items: texts.map((value) => ({ payload: { case: "text" as const, value } })) } },
  });
}

test("short ASCII texts are written and read as protobuf has them", () => {
  const texts = ["", "a", "a token\n\x00\x7f", "x".repeat(100)];
  const taken = texts.map((value) => {
    const { payload, size } = encodeValue("text", value, "test");
    return { payload, size, item: { value, size }, envelope: undefined };
  });
  const frame = plainTexts(taken);
  const bytes = toBinary(ExchangeRequestSchema, frame ?? frameOf());
  expect(bytes).toEqual(toBinary(ExchangeRequestSchema, frameOf(...texts)));
  expect(readPlainTexts(received(bytes))).toEqual(taken.map(({ item }) => item));
  for (const value of ["ä", "x".repeat(101)]) {
    expect(
      plainTexts([{ payload: { case: "text", value }, size: 1, item: { value, size: 1 }, envelope: undefined }]),
    ).toBe(undefined);
  }
});

test("frames with other items are read as messages", () => {
  const group = { id: "g", index: 0n };
  const item = { payload: { case: "text" as const, value: "a" } };
  const frames = [
    frameOf("a", "ä"),
    frameOf("x".repeat(130)),
    create(ExchangeRequestSchema, { frame: { case: "items", value: { items: [item, { ...item, group }] } } }),
    create(ExchangeRequestSchema, { frame: { case: "items", value: { items: [item], end: { itemCount: 1n } } } }),
  ];
  for (const frame of frames) {
    const bytes = received(toBinary(ExchangeRequestSchema, frame));
    expect(readPlainTexts(bytes)).toBe(undefined);
    expect(readItems(bytes)).toEqual(frame.frame.value);
  }
  const [cut] = [received(toBinary(ExchangeRequestSchema, frameOf("abc"))).slice(0, -1)];
  expect(readPlainTexts(cut)).toBe(undefined);
  expect(() => readItems(cut)).toThrow();
});

test("a frame with items and something else is refused", () => {
  const items = toBinary(ExchangeRequestSchema, frameOf("a"));
  const end = toBinary(ExchangeRequestSchema, create(ExchangeRequestSchema, { frame: { case: "end", value: {} } }));
  expect(received(end)).toHaveLength(0);
  for (const other of [items, end]) expect(() => received(Buffer.concat([items, other]))).toThrow("other than one");
});

test("a reading gives items in the order of arrival, then the end of all inputs or the first fault", async () => {
  const inbox = new Inbox(["one", "two"]);
  const [one, two] = ["one", "two"].map((name) => inbox.addEdge(name, name, "text", 10, 1000));
  const waits = new Waits(() => {});
  const reading = new Reading(inbox, waits, ["one", "two"], (port, item) => `${port}:${item.value}`);
  const put = (edge: typeof one, value: string) => edge?.put({ value, size: ITEM_OVERHEAD_BYTES });
  put(two, "a");
  put(one, "b");
  expect([(await reading.next()).value, (await reading.next()).value]).toEqual(["two:a", "one:b"]);
  const later = reading.next();
  expect(waits.current()).toEqual([{ anyInputs: ["one", "two"] }]);
  put(one, "c");
  expect(await later).toEqual({ done: false, value: "one:c" });
  one?.end();
  put(two, "d");
  two?.end(new LanemeshError({ code: 13, reason: "node-error", message: "broke" }));
  expect((await reading.next()).value).toBe("two:d");
  await expect(reading.next()).rejects.toThrow("broke");
  expect(await reading.next()).toEqual({ done: true, value: undefined });
});

test("a reading that its body leaves takes nothing more, and a cancelled one ends", async () => {
  const inbox = new Inbox(["one"]);
  const edge = inbox.addEdge("one", "one", "text", 10, 1000);
  const read = () => new Reading(inbox, new Waits(() => {}), ["one"], (_, item) => item.value);
  for (const value of ["a", "b"]) edge.put({ value, size: ITEM_OVERHEAD_BYTES });
  for await (const _ of read()) break;
  expect(edge.taken).toBe(1);
  expect(() => new Reading(inbox, new Waits(() => {}), ["none"], () => 0)).toThrow('no input "none"');
  inbox.interrupt(new LanemeshError({ code: 1, reason: "cancelled", message: "cancelled" }));
  await expect(read().next()).rejects.toThrow("cancelled");
  expect(edge.taken).toBe(1);
});
