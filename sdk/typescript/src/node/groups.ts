/** Groups: the pieces of one firing are marked as one whole, and every opened group is closed. */

import { within } from "../signal.js";
import type { Answer, Envelope, Group } from "../values.js";
import type { Outputs } from "./streams.js";

/** The ends of groups wait so long for capacity if their node failed or was cancelled, in milliseconds. */
const CLOSE_MS = { error: 1_000, cancelled: 250 };

/** The groups of one firing of a generator: one per output whose items are pieces. */
export class FiringGroups {
  readonly #latest = new Map<string, Group>();

  constructor(
    private readonly component: string,
    private readonly firing: number,
    private readonly outputs: Outputs,
  ) {}

  /** The envelope of the next piece. An answer's finish reason ends its group; the next piece starts another one. */
  piece(port: string, value: unknown): Envelope {
    const previous = this.#latest.get(port);
    const last = typeof value === "object" && value !== null && Boolean((value as Answer).finishReason);
    let group: Group = { id: `${this.component}.${port}.${this.firing}`, index: 0n, last, outcome: "ok" };
    if (previous?.last) group = { ...group, id: `${previous.id}+` };
    else if (previous !== undefined) group = { ...previous, index: previous.index + 1n, last };
    this.#latest.set(port, group);
    return { group };
  }

  /** Ends every open group by an item without a value. */
  async close(outcome: Group["outcome"]): Promise<void> {
    for (const [port, group] of this.#latest) {
      if (!group.last) await endGroup(this.outputs, port, group, outcome);
    }
    this.#latest.clear();
  }
}

/** The groups that a node passes on piece by piece, from its inputs to its outputs. */
export class KeptGroups {
  readonly #open = new Map<string, { port: string; group: Group }>();

  constructor(private readonly outputs: Outputs) {}

  /** Notes that a piece was taken, and sent by these outputs. Outputs that sent earlier pieces and not the last get the end. */
  async passOn(group: Group, sent: Iterable<string>): Promise<void> {
    const ports = new Set(sent);
    for (const port of ports) this.#open.set(`${port}\u0000${group.id}`, { port, group });
    if (!group.last) return;
    for (const [key, open] of this.#open) {
      if (open.group.id !== group.id) continue;
      this.#open.delete(key);
      if (!ports.has(open.port) && !this.outputs.closed) await this.outputs.send(open.port, undefined, { group });
    }
  }

  /** Ends every group whose last piece did not arrive. */
  async close(outcome: Group["outcome"]): Promise<void> {
    for (const { port, group } of this.#open.values()) {
      if (!group.last) await endGroup(this.outputs, port, group, outcome);
    }
    this.#open.clear();
  }
}

async function endGroup(outputs: Outputs, port: string, group: Group, outcome: Group["outcome"]): Promise<void> {
  if (outputs.closed) return;
  const end = { group: { ...group, index: group.index + 1n, last: true, outcome } };
  const sent = outputs.send(port, undefined, end);
  if (outcome === "ok") {
    await sent;
    return;
  }
  sent.catch(() => {}); // another error ends the node already
  await within(sent, CLOSE_MS[outcome]);
}
