import { setTimeout as pause } from "node:timers/promises";
import { create } from "@bufbuild/protobuf";
import { createClient } from "@connectrpc/connect";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type ExchangeRequest, ExchangeRequestSchema, LaneType } from "../src/gen/lanemesh/v1/lane_pb.js";
import { type HostRequest, HostRequestSchema, NodeService, PlaceSchema } from "../src/gen/lanemesh/v1/node_pb.js";
import { defineNode, type NodeServer, serve } from "../src/index.js";
import { Connection } from "../src/wire/connection.js";

const ITEM_BYTES = 16 * 1024;
const EDGE = "before.out>node.text";

let open: () => void = () => {};
const gate = new Promise<void>((resolve) => {
  open = resolve;
});
let taken = 0;

const gated = defineNode(
  { name: "gated", inputs: { text: "text" }, outputs: {} },
  {
    async run(inputs) {
      await gate;
      for await (const _ of inputs.port("text")) taken += 1;
    },
  },
);

let server: NodeServer;
let orchestrator: Connection;
let producer: Connection;

beforeAll(async () => {
  server = await serve({ nodes: [gated] });
  orchestrator = new Connection(server.address, {});
  producer = new Connection(server.address, {});
});

afterAll(async () => {
  producer.close();
  orchestrator.close();
  await server.close();
});

/** Hosts a run whose node takes nothing until the gate opens. */
async function* hostFrames(started: Promise<void>): AsyncGenerator<HostRequest> {
  const edge = {
    ...{ id: EDGE, producer: "before", output: "out", consumer: "node", input: "text", laneType: LaneType.TEXT },
    ...{ limitItems: 100_000n, limitBytes: 64n * 1024n, producerServer: "driver", consumerServer: "tested" },
  };
  const instances = [{ component: "node", provider: "gated", configJson: "{}" }];
  const place = create(PlaceSchema, { runId: "r", instances, edges: [edge] });
  yield create(HostRequestSchema, { frame: { case: "place", value: place } });
  yield create(HostRequestSchema, { frame: { case: "connect", value: {} } });
  await started;
  yield create(HostRequestSchema, { frame: { case: "start", value: {} } });
  await new Promise(() => {});
}

test("a consumer that takes nothing holds its producer by HTTP/2, and no other lane", async () => {
  let accepted: () => void = () => {};
  const started = new Promise<void>((resolve) => {
    accepted = resolve;
  });
  const host = createClient(NodeService, orchestrator.transport).host(hostFrames(started));
  const states = host[Symbol.asyncIterator]();
  await states.next(); // placed
  await states.next(); // connected
  let drawn = 0;
  const items = 1_000;
  async function* frames(): AsyncGenerator<ExchangeRequest> {
    const opening = { runId: "r", edgeId: EDGE, laneType: LaneType.TEXT, protocolVersion: 1 };
    yield create(ExchangeRequestSchema, { frame: { case: "open", value: opening } });
    await started;
    for (; drawn < items; drawn++) {
      const item = { payload: { case: "text" as const, value: "x".repeat(ITEM_BYTES) } };
      yield create(ExchangeRequestSchema, { frame: { case: "items", value: { items: [item] } } });
    }
    yield create(ExchangeRequestSchema, { frame: { case: "end", value: { itemCount: BigInt(items) } } });
  }
  const call = createClient(NodeService, producer.transport).exchange(frames());
  const answers = call[Symbol.asyncIterator]();
  expect((await answers.next()).value?.frame.case).toBe("accepted");
  accepted();
  let [before, now] = [-1, 0];
  while (before !== now) {
    await pause(300);
    [before, now] = [now, drawn];
  }
  expect(now).toBeGreaterThan(0);
  // The inbox holds 64 KiB, the window 256 KiB; sockets and frames under way add some. 16 MiB wait.
  expect(now * ITEM_BYTES).toBeLessThan(1024 * 1024);
  const health = await createClient(NodeService, producer.transport).describe({});
  expect(health.manifests).toHaveLength(1);
  open();
  for (let next = await answers.next(); !next.done; next = await answers.next());
  expect(drawn).toBe(items);
  expect(taken).toBe(items);
});
