/** What encrypts and authorises calls: TLS and bearer tokens, given or from the environment. */

import { readFileSync } from "node:fs";
import { isIPv4, isIPv6 } from "node:net";
import type { SecureContextOptions } from "node:tls";
import { Code, LanemeshError, refused } from "../errors.js";

/** Certificates as PEM text. */
export interface Tls {
  /**
   * Certificates of the authorities that verify peers, or "system" for those of the system. If it is set, connections to others use
   * TLS.
   */
  ca?: string | Buffer;
  /** The own certificate: of a server, or of a client where the server requires one. */
  cert?: string | Buffer;
  /** The private key of the own certificate. A server that has both listens with TLS. */
  key?: string | Buffer;
  /** The name that the certificates of servers are checked for; absent: the host of the dialled address. */
  serverName?: string;
}

/** How calls are protected. */
export interface Security {
  /** Encrypts connections; absent: plain text. */
  tls?: Tls;
  /** The bearer token that calls carry. */
  token?: string;
}

/** The value of `ca` for the authorities of the system. */
const SYSTEM = "system";

/** The options of a TLS connection to others; undefined: they are dialled without TLS. */
export function dialOptions({ tls }: Security): SecureContextOptions | undefined {
  if (tls?.ca === undefined) return undefined;
  const { ca, cert, key, serverName } = tls;
  return {
    ...(ca !== SYSTEM && { ca }),
    ...(cert !== undefined && key !== undefined && { cert, key }),
    ...(serverName !== undefined && { servername: serverName }),
  };
}

/**
 * The security that the environment defines: LANEMESH_TLS_CERT, LANEMESH_TLS_KEY and LANEMESH_TLS_CA (PEM files, or "system" for the
 * latter), LANEMESH_TLS_NAME, LANEMESH_TOKEN or LANEMESH_TOKEN_FILE.
 *
 * Throws LanemeshError if a file cannot be read.
 */
export function securityFromEnvironment(environment: NodeJS.ProcessEnv = process.env): Security {
  const security: Security = {};
  const tls: Tls = {};
  for (const [field, name] of [
    ["cert", "LANEMESH_TLS_CERT"],
    ["key", "LANEMESH_TLS_KEY"],
    ["ca", "LANEMESH_TLS_CA"],
  ] as const) {
    const path = environment[name];
    if (path) tls[field] = field === "ca" && path === SYSTEM ? SYSTEM : readNamed(path, name);
  }
  if (environment["LANEMESH_TLS_NAME"]) tls.serverName = environment["LANEMESH_TLS_NAME"];
  if (Object.keys(tls).length > 0) security.tls = tls;
  const token = environment["LANEMESH_TOKEN"];
  const file = environment["LANEMESH_TOKEN_FILE"];
  if (token) security.token = token;
  else if (file) security.token = readNamed(file, "LANEMESH_TOKEN_FILE").toString("utf8").trim();
  return security;
}

function readNamed(path: string, variable: string): Buffer {
  try {
    return readFileSync(path);
  } catch (error) {
    throw refused("bad-config", `${variable}: the file ${path} cannot be read: ${(error as Error).message}`);
  }
}

/** Throws LanemeshError if a token would be sent to another machine without encryption. */
export function checkToken(address: string, security: Security): void {
  if (security.token === undefined || security.tls?.ca !== undefined || isLoopback(hostOf(address))) return;
  throw new LanemeshError({
    code: Code.FailedPrecondition,
    reason: "insecure-token",
    message: `a token would be sent to ${address} without encryption. Set tls (or LANEMESH_TLS_CA)`,
  });
}

/** The host of "host:port". Throws LanemeshError unless it is such an address. */
export function hostOf(address: string): string {
  const found = /^(\[[0-9A-Fa-f:.]+\]|[^\s:/[\]]{1,253}):([0-9]{1,5})$/.exec(address);
  const port = Number(found?.[2]);
  if (found === null || port < 1 || port > 65_535) {
    const message = `"${address.slice(0, 300)}" is not an address: write HOST:PORT, such as 127.0.0.1:7070`;
    throw refused("bad-address", message);
  }
  return (found[1] as string).replace(/^\[|\]$/g, "");
}

/** Whether other machines cannot reach a host. */
export function isLoopback(host: string): boolean {
  if (isIPv4(host)) return host.startsWith("127.");
  return host === "localhost" || (isIPv6(host) && host === "::1");
}
