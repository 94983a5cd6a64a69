import { spawnSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create } from "@bufbuild/protobuf";
import { createClient } from "@connectrpc/connect";
import { SignJWT } from "jose";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { fromCall } from "../src/errors.js";
import { Health, HealthCheckResponse_ServingStatus as Status } from "../src/gen/grpc_health/v1/health_pb.js";
import { ExchangeRequestSchema } from "../src/gen/lanemesh/v1/lane_pb.js";
import { NodeService } from "../src/gen/lanemesh/v1/node_pb.js";
import { Code, type LanemeshError, type NodeServer, type Security, type ServeOptions, serve } from "../src/index.js";
import { Connection } from "../src/wire/connection.js";
import { securityFromEnvironment } from "../src/wire/security.js";
import { nodes } from "./conformance-nodes.js";
import { python } from "./mesh.js";

let folder: string;
const servers: NodeServer[] = [];
const pem = (name: string) => readFileSync(join(folder, name));

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "lanemesh-"));
  const made = spawnSync(python, [join(import.meta.dirname, "certificates.py"), folder], { encoding: "utf8" });
  expect(made.status, made.stderr).toBe(0);
});

afterEach(async () => {
  await Promise.all(servers.splice(0).map((server) => server.close()));
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

async function started(options: Partial<ServeOptions>): Promise<NodeServer> {
  const server = await serve({ nodes, ...options });
  servers.push(server);
  return server;
}

/** The number of node types that a server describes, or the error of the call. */
async function described(server: NodeServer, security: Security): Promise<number | LanemeshError> {
  const connection = new Connection(server.address, security);
  try {
    return (await createClient(NodeService, connection.transport).describe({})).manifests.length;
  } catch (error) {
    return fromCall(error, server.address);
  } finally {
    connection.close();
  }
}

test("TLS: a server is verified by its authority", async () => {
  const server = await started({ security: { tls: { cert: pem("server.pem"), key: pem("server.key") } } });
  expect(await described(server, { tls: { ca: pem("ca.pem") } })).toBe(nodes.length);
  expect(await described(server, { tls: { ca: pem("other.pem") } })).toMatchObject({ reason: "unreachable" });
  expect(await described(server, { tls: { ca: "system" } })).toMatchObject({ reason: "unreachable" });
  expect(await described(server, {})).toMatchObject({ code: Code.Unavailable });
  expect(await described(server, { tls: { ca: pem("ca.pem"), serverName: "elsewhere" } })).toMatchObject({
    reason: "unreachable",
  });
});

test("mTLS: clients need a certificate of the authority", async () => {
  const tls = { cert: pem("server.pem"), key: pem("server.key"), ca: pem("ca.pem") };
  const server = await started({ security: { tls }, mtls: true });
  const client = { ca: pem("ca.pem"), cert: pem("client.pem"), key: pem("client.key") };
  expect(await described(server, { tls: client })).toBe(nodes.length);
  expect(await described(server, { tls: { ca: pem("ca.pem") } })).toMatchObject({ code: Code.Unavailable });
  const stranger = { ca: pem("ca.pem"), cert: pem("other.pem"), key: pem("other.key") };
  expect(await described(server, { tls: stranger })).toMatchObject({ code: Code.Unavailable });
});

test("tokens: each method but the health check needs one with the scope node", async () => {
  const secret = "s".repeat(40);
  const [good, hashed, other, old] = ["good", "hash", "other", "old"].map((name) => name.padEnd(20, "-")) as string[];
  writeFileSync(join(folder, "hs.key"), secret);
  const sha256 = createHash("sha256")
    .update(hashed ?? "")
    .digest("hex");
  const auth = join(folder, "auth.toml");
  writeFileSync(
    auth,
    `
    tokens = [
      {name = "mesh", scopes = ["node"], token = "${good}"},
      {name = "hashed", scopes = ["node", "run"], sha256 = "${sha256}"},
      {name = "user", scopes = ["run", "admin"], token = "${other}"},
      {name = "old", scopes = ["node"], token = "${old}", expires = 2020-01-01T00:00:00Z},
    ]
    [[jwt]]
    issuer = "https://issuer.example"
    audience = "mesh"
    key_file = "hs.key"
    algorithms = ["HS256"]
    `,
  );
  const server = await started({ auth });
  const jwt = (audience: string, expires: string, scope = "node", key = secret) =>
    new SignJWT({ scope })
      .setProtectedHeader({ alg: "HS256" })
      .setIssuer("https://issuer.example")
      .setAudience(audience)
      .setExpirationTime(expires)
      .sign(new TextEncoder().encode(key));
  const accepted = [good, hashed, await jwt("mesh", "5m")];
  for (const token of accepted) expect(await described(server, { token: token ?? "" })).toBe(nodes.length);
  const refused: [Security, Code, string][] = [
    [{}, Code.Unauthenticated, "token-missing"],
    [{ token: "x".repeat(20) }, Code.Unauthenticated, "token-invalid"],
    [{ token: old ?? "" }, Code.Unauthenticated, "token-expired"],
    [{ token: other ?? "" }, Code.PermissionDenied, "scope-missing"],
    [{ token: await jwt("elsewhere", "5m") }, Code.Unauthenticated, "token-audience"],
    [{ token: await jwt("mesh", "-5m") }, Code.Unauthenticated, "token-expired"],
    [{ token: await jwt("mesh", "5m", "run") }, Code.PermissionDenied, "scope-missing"],
    [{ token: await jwt("mesh", "5m", "node", "t".repeat(40)) }, Code.Unauthenticated, "token-invalid"],
  ];
  for (const [security, code, reason] of refused) {
    expect(await described(server, security), reason).toMatchObject({ code, reason });
  }
  const connection = new Connection(server.address, {});
  const { status } = await createClient(Health, connection.transport).check({ service: NodeService.typeName });
  expect(status).toBe(Status.SERVING);
  async function* frames() {
    yield create(ExchangeRequestSchema, { frame: { case: "open", value: { runId: randomBytes(4).toString("hex") } } });
  }
  const lane = createClient(NodeService, connection.transport).exchange(frames());
  await expect(lane[Symbol.asyncIterator]().next()).rejects.toMatchObject({ code: Code.Unauthenticated });
  connection.close();
});

test("contradictions and unsafe addresses are refused", async () => {
  await expect(serve({ nodes, host: "0.0.0.0" })).rejects.toMatchObject({ reason: "insecure" });
  await expect(serve({ nodes, mtls: true })).rejects.toMatchObject({ reason: "bad-config" });
  writeFileSync(join(folder, "bad.toml"), 'tokens = [{name = "short", scopes = ["node"], token = "short-secret"}]');
  const error = await serve({ nodes, auth: join(folder, "bad.toml") }).catch((failure) => failure);
  expect(error).toMatchObject({ reason: "bad-auth-file" });
  expect(error.message).not.toContain("short-secret");
  expect(() => new Connection("mesh.example:7070", { token: "t" })).toThrow("without encryption");
});

test("the environment has what is not given", () => {
  writeFileSync(join(folder, "token"), "from-a-file\n");
  const environment = {
    LANEMESH_TLS_CA: join(folder, "ca.pem"),
    LANEMESH_TLS_NAME: "mesh",
    LANEMESH_TOKEN_FILE: join(folder, "token"),
  };
  expect(securityFromEnvironment(environment)).toEqual({
    tls: { ca: pem("ca.pem"), serverName: "mesh" },
    token: "from-a-file",
  });
  expect(() => securityFromEnvironment({ LANEMESH_TLS_CA: "/none.pem" })).toThrow("LANEMESH_TLS_CA");
});
