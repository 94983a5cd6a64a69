/** A mesh of Python processes for tests: an orchestrator, and node servers that join it. */

import { type ChildProcess, spawn } from "node:child_process";
import { createServer } from "node:net";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../../../", import.meta.url));
/** The interpreter of the mesh. */
export const python = `${root}.venv/bin/python`;

/** A process of the mesh, and what it has written. */
export class Server {
  output = "";
  #changed: (() => void)[] = [];
  /** Resolves when it has ended. */
  readonly ended: Promise<void>;

  constructor(readonly child: ChildProcess) {
    for (const stream of [child.stdout, child.stderr]) {
      stream?.on("data", (chunk: Buffer) => {
        this.output += chunk.toString();
        this.#notify();
      });
    }
    this.ended = new Promise((resolve) => child.once("exit", () => resolve()));
    child.once("exit", () => this.#notify());
  }

  /** Waits until it has written a text. Throws with all that it has written if it ends first. */
  async wrote(text: string | RegExp): Promise<string> {
    while (true) {
      const found = typeof text === "string" ? this.output.includes(text) && text : text.exec(this.output)?.[0];
      if (found) return found;
      if (this.child.exitCode !== null || this.child.signalCode !== null)
        throw new Error(`it has ended:\n${this.output}`);
      await new Promise<void>((resolve) => this.#changed.push(resolve));
    }
  }

  /** Ends it, and waits for its end. */
  async stop(signal: NodeJS.Signals = "SIGTERM"): Promise<void> {
    if (this.child.exitCode === null && this.child.signalCode === null) this.child.kill(signal);
    await this.ended;
  }

  #notify(): void {
    const waiting = this.#changed;
    this.#changed = [];
    for (const wake of waiting) wake();
  }
}

/** Starts a command of Lanemesh. */
export function lanemesh(...args: string[]): Server {
  const env = { ...process.env, LANEMESH_STORE: "none", PYTHONUNBUFFERED: "1", NO_COLOR: "1", OMP_NUM_THREADS: "1" };
  return new Server(spawn(python, ["-m", "lanemesh_orchestrator.cli", ...args], { env, cwd: root }));
}

/** A port that is free now. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      server.close(() => resolve(typeof address === "object" && address !== null ? address.port : 0));
    });
  });
}

/** An orchestrator, and the node servers of tests/rigs. */
export class Mesh {
  readonly servers: Server[] = [];
  orchestrator!: Server;

  private constructor(readonly address: string) {}

  /** Starts an orchestrator. */
  static async start(...args: string[]): Promise<Mesh> {
    const port = await freePort();
    const mesh = new Mesh(`127.0.0.1:${port}`);
    mesh.orchestrator = lanemesh("serve", "--port", String(port), ...args);
    mesh.servers.push(mesh.orchestrator);
    await mesh.orchestrator.wrote(mesh.address);
    return mesh;
  }

  /** Starts a Python node server with the node types of a file, and waits until it has joined. */
  async node(file: string, ...args: string[]): Promise<Server> {
    return this.join("--nodes", file, ...args);
  }

  /** Starts a Python node server, and waits until it has joined. */
  async join(...args: string[]): Promise<Server> {
    const server = lanemesh("node", ...args, "--orchestrator", this.address);
    this.servers.push(server);
    await server.wrote(/joined/i);
    return server;
  }

  /** Ends all processes. */
  async stop(): Promise<void> {
    await Promise.all(this.servers.reverse().map((server) => server.stop()));
  }
}
