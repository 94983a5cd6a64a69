import { afterAll, beforeAll, expect, test } from "vitest";
import { type NodeServer, serve } from "../src/index.js";
import { nodes } from "./conformance-nodes.js";
import { lanemesh } from "./mesh.js";

let server: NodeServer;

beforeAll(async () => {
  server = await serve({ nodes, name: "tested" });
});

afterAll(async () => {
  await server.close();
});

test("lanemesh conformance: levels L0 to L2", { timeout: 120_000 }, async (context) => {
  const help = lanemesh("conformance", "--help");
  await help.ended;
  if (help.child.exitCode !== 0) return context.skip("this version of lanemesh has no command `conformance`");
  const driver = lanemesh("conformance", server.address, "--level", "L2", "--quick");
  await driver.ended;
  expect(driver.child.exitCode, driver.output).toBe(0);
});
