/** Carries TCP connections to an address, until they are cut. */

import { type AddressInfo, createServer, connect as dial, type Socket } from "node:net";

export class Cable {
  readonly #ends = new Set<Socket>();
  readonly #server;

  constructor(target: string) {
    const [host, port] = target.split(":") as [string, string];
    this.#server = createServer((near) => {
      const far = dial(Number(port), host);
      for (const [one, other] of [
        [near, far],
        [far, near],
      ] as const) {
        this.#ends.add(one);
        one.pipe(other);
        one.on("error", () => other.destroy());
        one.once("close", () => {
          this.#ends.delete(one);
          other.destroy();
        });
      }
    });
  }

  /** Listens; returns where to dial instead. */
  async start(): Promise<string> {
    await new Promise<void>((resolve) => this.#server.listen(0, "127.0.0.1", resolve));
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** Breaks the connections there are; new ones are carried. */
  snap(): void {
    for (const end of this.#ends) end.destroy();
  }

  /** Ends it. */
  async stop(): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    this.snap();
    await closed;
  }
}
