/** The tokens that a node server accepts: the file of LANEMESH_AUTH, as docs/security.md describes it. */

import { createHash, timingSafeEqual } from "node:crypto";
import { readFileSync, statSync } from "node:fs";
import { dirname, resolve } from "node:path";
import type { Interceptor } from "@connectrpc/connect";
import { createLocalJWKSet, createRemoteJWKSet, errors, importSPKI, type JWTVerifyGetKey, jwtVerify } from "jose";
import { parse } from "smol-toml";
import { z } from "zod";
import { Code, LanemeshError, toConnectError } from "../errors.js";
import { Health } from "../gen/grpc_health/v1/health_pb.js";

/** The scope that the calls of a node server's services need. */
const SCOPE = "node";
/** The file is looked at for changes at most so often, in milliseconds. */
const LOOK_MS = 1_000;
const MIN_TOKEN = 16;
const MAX_JWT = 8 * 1024;
const SCOPES = ["run", "deploy", "watch", "admin", "node"] as const;

const StaticToken = z
  .strictObject({
    name: z.string().min(1).max(128),
    scopes: z.array(z.enum(SCOPES)),
    token: z.string().optional(),
    token_file: z.string().optional(),
    sha256: z
      .string()
      .regex(/^[0-9a-f]{64}$/)
      .optional(),
    expires: z.date().optional(),
  })
  .refine((one) => [one.token, one.token_file, one.sha256].filter((part) => part !== undefined).length === 1, {
    message: "give one of token, token_file and sha256",
  });

const JwtIssuer = z
  .strictObject({
    issuer: z.string().min(1).max(256),
    audience: z.string().min(1).max(256),
    key_file: z.string().optional(),
    jwks_file: z.string().optional(),
    jwks_url: z.string().optional(),
    algorithms: z.array(z.string()).min(1).default(["RS256", "PS256", "ES256", "EdDSA"]),
    scope_claim: z.string().default("scope"),
    leeway: z.number().min(0).max(300).default(30),
  })
  .refine((one) => [one.key_file, one.jwks_file, one.jwks_url].filter((part) => part !== undefined).length === 1, {
    message: "give one of key_file, jwks_file and jwks_url",
  });

const AuthFile = z
  .strictObject({ tokens: z.array(StaticToken).default([]), jwt: z.array(JwtIssuer).default([]) })
  .refine((file) => file.tokens.length + file.jwt.length > 0, { message: "it accepts no token" });

interface Content {
  tokens: { digest: Buffer; scopes: readonly string[]; expires: number }[];
  issuers: Map<string, { entry: z.output<typeof JwtIssuer>; key: JWTVerifyGetKey }>;
}

type Refusal = "token-missing" | "token-invalid" | "token-expired" | "token-audience" | "scope-missing";

const MESSAGES: Record<Refusal, string> = {
  "token-missing": "this server requires a token. Set LANEMESH_TOKEN or LANEMESH_TOKEN_FILE",
  "token-invalid": "the token is not one that this server accepts. Ask the operator of the mesh for a valid one",
  "token-expired": "the token has expired. Get a new one",
  "token-audience": "the token is for another audience. Request one for the audience of this mesh",
  "scope-missing": `the token lacks the scope ${SCOPE}, which the calls of node servers need`,
};

/** The tokens of a file, which is read again within a second when it has changed. */
export class AcceptedTokens {
  #content: Content;
  #changedAt: number;
  #lookedAt = Date.now();

  /** Reads the file. Throws LanemeshError ("bad-auth-file") if it is invalid; the error contains no token. */
  constructor(private readonly path: string) {
    this.#changedAt = changedAt(path);
    this.#content = read(path);
  }

  /** Checks a token. Throws LanemeshError if it is not accepted, or lacks the scope of node servers. */
  async check(token: string | undefined): Promise<void> {
    if (!token) throw refusal("token-missing");
    this.#look();
    const digest = createHash("sha256").update(token).digest();
    const found = this.#content.tokens.filter((entry) => timingSafeEqual(entry.digest, digest)).at(0);
    const { scopes, expires } = found ?? (await this.#jwt(token));
    if (Date.now() >= expires) throw refusal("token-expired");
    if (!scopes.includes(SCOPE)) throw refusal("scope-missing");
  }

  async #jwt(token: string): Promise<{ scopes: readonly string[]; expires: number }> {
    if (token.split(".").length !== 3 || token.length > MAX_JWT) throw refusal("token-invalid");
    const found = this.#content.issuers.get(issuerOf(token));
    if (found === undefined) throw refusal("token-invalid");
    const { entry, key } = found;
    try {
      const { payload } = await jwtVerify(token, key, {
        issuer: entry.issuer,
        audience: entry.audience,
        algorithms: entry.algorithms,
        clockTolerance: entry.leeway,
        requiredClaims: ["exp", "iss", "aud"],
      });
      const claim = payload[entry.scope_claim];
      const scopes = typeof claim === "string" ? claim.split(" ") : Array.isArray(claim) ? claim.map(String) : [];
      return { scopes, expires: ((payload.exp ?? 0) + entry.leeway) * 1000 };
    } catch (error) {
      if (error instanceof errors.JWTExpired) throw refusal("token-expired");
      const isAudience = error instanceof errors.JWTClaimValidationFailed && error.claim === "aud";
      throw refusal(isAudience ? "token-audience" : "token-invalid");
    }
  }

  /** Reads the file again if it has changed. If it is invalid, the tokens before remain accepted. */
  #look(): void {
    if (Date.now() - this.#lookedAt < LOOK_MS) return;
    this.#lookedAt = Date.now();
    try {
      const changed = changedAt(this.path);
      if (changed === this.#changedAt) return;
      this.#changedAt = changed;
      this.#content = read(this.path);
    } catch (error) {
      process.stderr.write(`lanemesh: the tokens before remain accepted: ${(error as Error).message}\n`);
    }
  }
}

/** Requires a token of each call but those of health checks. */
export function requiringTokens(accepted: AcceptedTokens): Interceptor {
  return (next) => async (request) => {
    if (request.service.typeName !== Health.typeName) {
      const [scheme, token] = (request.header.get("authorization") ?? "").split(" ");
      try {
        await accepted.check(scheme?.toLowerCase() === "bearer" ? token : undefined);
      } catch (error) {
        throw error instanceof LanemeshError ? toConnectError(error) : error;
      }
    }
    return next(request);
  };
}

function refusal(reason: Refusal): LanemeshError {
  const code = reason === "scope-missing" ? Code.PermissionDenied : Code.Unauthenticated;
  return new LanemeshError({ code, reason, message: MESSAGES[reason] });
}

function changedAt(path: string): number {
  try {
    return statSync(path).mtimeMs;
  } catch (error) {
    throw badFile(path, `it cannot be read: ${(error as NodeJS.ErrnoException).code}`);
  }
}

function read(path: string): Content {
  let file: z.output<typeof AuthFile>;
  try {
    file = AuthFile.parse(parse(readFileSync(path, "utf8")));
  } catch (error) {
    const issue = error instanceof z.ZodError ? error.issues[0] : undefined;
    throw badFile(path, issue === undefined ? "it is not TOML" : `${issue.path.join(".")}: ${issue.message}`);
  }
  const folder = dirname(path);
  const tokens = file.tokens.map((entry) => ({
    digest: digestOf(entry, path),
    scopes: entry.scopes,
    expires: entry.expires?.getTime() ?? Number.POSITIVE_INFINITY,
  }));
  const issuers = new Map(file.jwt.map((entry) => [entry.issuer, { entry, key: keyOf(entry, folder, path) }]));
  return { tokens, issuers };
}

function digestOf(entry: z.output<typeof StaticToken>, path: string): Buffer {
  if (entry.sha256 !== undefined) return Buffer.from(entry.sha256, "hex");
  const named = entry.token_file === undefined ? undefined : readNamed(resolve(dirname(path), entry.token_file), path);
  const token = named?.trim() ?? entry.token ?? "";
  if (token.length < MIN_TOKEN) throw badFile(path, `the entry ${entry.name}: its token has fewer than 16 characters`);
  return createHash("sha256").update(token).digest();
}

function keyOf(entry: z.output<typeof JwtIssuer>, folder: string, path: string): JWTVerifyGetKey {
  if (entry.jwks_url !== undefined) return createRemoteJWKSet(new URL(entry.jwks_url));
  if (entry.jwks_file !== undefined) {
    return createLocalJWKSet(JSON.parse(readNamed(resolve(folder, entry.jwks_file), path)));
  }
  const key = readNamed(resolve(folder, entry.key_file ?? ""), path);
  if (entry.algorithms.every((name) => name.startsWith("HS"))) {
    return async () => new TextEncoder().encode(key.trim());
  }
  return async ({ alg }) => importSPKI(key, alg ?? "");
}

function readNamed(name: string, path: string): string {
  try {
    return readFileSync(name, "utf8");
  } catch (error) {
    throw badFile(path, `${name} cannot be read: ${(error as NodeJS.ErrnoException).code}`);
  }
}

/** The claim `iss` of a token that is not verified yet. */
function issuerOf(token: string): string {
  try {
    const payload = JSON.parse(Buffer.from(token.split(".")[1] ?? "", "base64url").toString("utf8"));
    return String(payload.iss);
  } catch {
    return "";
  }
}

function badFile(path: string, why: string): LanemeshError {
  const message = `the file of accepted tokens ${path}: ${why}`;
  return new LanemeshError({ code: Code.FailedPrecondition, reason: "bad-auth-file", message });
}
