/** The mesh that the test files share: an orchestrator with a gateway, and a Python node server. */

import type { TestProject } from "vitest/node";
import { freePort, Mesh } from "./mesh.js";

declare module "vitest" {
  interface ProvidedContext {
    /** The orchestrator, "host:port". */
    mesh: string;
    /** The URL of its gateway. */
    gateway: string;
  }
}

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const http = await freePort();
  const mesh = await Mesh.start("--http", String(http));
  await mesh.join("text", "--nodes", "sdk/typescript/tests/nodes.py", "--name", "python");
  project.provide("mesh", mesh.address);
  project.provide("gateway", `http://127.0.0.1:${http}`);
  return () => mesh.stop();
}
