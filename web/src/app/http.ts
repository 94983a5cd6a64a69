/** Requests to the HTTP API, and their errors. */
import { signal } from "@preact/signals";
import type { PipelineFault, Problem } from "./types.ts";

/** A request that failed. `status` is 0 if the gateway was not reached. */
export class ApiError extends Error {
  readonly status: number;
  readonly reason: string;
  readonly faults: PipelineFault[];

  constructor(problem: Problem) {
    super(problem.detail);
    this.status = problem.status;
    this.reason = problem.title;
    this.faults = problem.faults ?? [];
  }
}

const TOKEN_KEY = "lanemesh-token";

/** The token of the caller, for this tab alone; empty: none. */
export const token = signal(readToken());
/** The gateway wants a token, or another one. */
export const tokenWanted = signal(false);

function readToken(): string {
  try {
    return sessionStorage.getItem(TOKEN_KEY) ?? "";
  } catch {
    return "";
  }
}

export function setToken(value: string): void {
  token.value = value;
  tokenWanted.value = false;
  try {
    sessionStorage.setItem(TOKEN_KEY, value);
  } catch {
    // It then lasts as long as the page.
  }
}

export function headers(): Record<string, string> {
  return token.value ? { Authorization: `Bearer ${token.value}` } : {};
}

/** The error of a response that is not OK. */
export async function toApiError(response: Response): Promise<ApiError> {
  if (response.status === 401) tokenWanted.value = true;
  let problem: Partial<Problem> = {};
  try {
    problem = (await response.json()) as Partial<Problem>;
  } catch {
    // Not one of our gateway, such as that of a proxy.
  }
  const detail = problem.detail ?? `the gateway answered ${response.status} ${response.statusText}`;
  return new ApiError({ ...problem, title: problem.title ?? "http-error", status: response.status, detail });
}

/** Sends a request and returns the JSON of its response; undefined if it has none. Raises ApiError. */
export async function call<T>(method: string, path: string, body?: unknown, abort?: AbortSignal): Promise<T> {
  let response: Response;
  try {
    response = await fetch(path, {
      method,
      headers: { ...headers(), Accept: "application/json", ...(body === undefined ? {} : { "Content-Type": "application/json" }) },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      ...(abort ? { signal: abort } : {}),
    });
  } catch (error) {
    if (abort?.aborted) throw error;
    throw new ApiError({ title: "unreachable", status: 0, detail: "The gateway does not answer. Is it running?" });
  }
  if (!response.ok) throw await toApiError(response);
  const text = await response.text();
  return (text ? JSON.parse(text) : undefined) as T;
}
