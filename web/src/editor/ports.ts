/** The ports of nodes, and which of them may be connected: the lane fits, the kind of helper is offered, and no cycle arises. */
import type { NodeType } from "../app/catalogue.ts";
import type { PipelineDocument } from "../app/types.ts";
import { connectionsOf, isObject, partsOf, words, type Connection, type JsonObject, type Part } from "./pipeline_parts.ts";

export type Catalogue = ReadonlyMap<string, NodeType>;

export type PortKind = "input" | "output" | "invokes" | "helps";

export interface NodePort {
  component: string;
  kind: PortKind;
  /** The name of an input or output; the kind of helper of `invokes`; empty for `helps`. */
  name: string;
  /** The lane type; empty: any. */
  lane: string;
  required: boolean;
  /** The kinds of helper that the component serves as. */
  offers: readonly string[];
  /** Most helpers of this kind. */
  most: number;
  /** The name by which helpers of this kind are called. */
  called: string;
}

/** Node types by their names and aliases. */
export function catalogueOf(types: readonly NodeType[]): Catalogue {
  const found = new Map<string, NodeType>();
  for (const type of types) for (const alias of type.aliases ?? []) found.set(alias, type);
  for (const type of types) found.set(type.provider, type);
  return found;
}

const PLAIN = { lane: "", required: false, offers: [], most: Infinity, called: "" };

export function portsOf(part: Part, type: NodeType | undefined): NodePort[] {
  if (!type) return [];
  const plain = { ...PLAIN, component: part.id };
  const any = laneOfConfig(part, type);
  return [
    ...(type.inputs ?? []).map((one) => ({ ...plain, kind: "input" as const, name: one.name, lane: one.lane ?? any, required: one.required ?? false })),
    ...(type.outputs ?? []).map((one) => ({ ...plain, kind: "output" as const, name: one.name, lane: one.lane ?? any })),
    ...(type.invokes ?? []).map((one) => ({
      ...plain,
      kind: "invokes" as const,
      name: one.class_type,
      required: (one.min ?? 0) > 0,
      most: one.max ?? Infinity,
      called: one.name ?? "",
    })),
    ...(type.offers?.length ? [{ ...plain, kind: "helps" as const, name: "", offers: type.offers }] : []),
  ];
}

/** The lane of ports whose lane the config names. */
function laneOfConfig(part: Part, type: NodeType): string {
  const profile = type.profiles?.[words(part.entry.config?.["profile"]) || part.provider];
  return words(part.entry.config?.["lane"]) || (isObject(profile) ? words(profile["lane"]) : "");
}

/** All ports of a document, and its connections. */
export class Wiring {
  readonly parts: Part[];
  readonly connections: Connection[];
  readonly ports = new Map<string, NodePort[]>();

  constructor(document: PipelineDocument, catalogue: Catalogue) {
    this.parts = partsOf(document);
    this.connections = connectionsOf(document);
    for (const part of this.parts) this.ports.set(part.id, portsOf(part, catalogue.get(part.provider)));
  }

  /** The ports where a connection begins and ends; undefined if the node types have none such. */
  endsOf(connection: Connection): { begin: NodePort | undefined; end: NodePort | undefined } {
    const { entry, from, to, kind } = connection;
    if (kind === "control") {
      return { begin: this.find(from, "invokes", words(entry["classType"]), ""), end: this.find(to, "helps", "", "") };
    }
    const lane = words(entry["lane"]);
    return { begin: this.find(from, "output", words(entry["output"]), lane), end: this.find(to, "input", words(entry["input"]), lane) };
  }

  private find(component: string, kind: PortKind, name: string, lane: string): NodePort | undefined {
    const ports = (this.ports.get(component) ?? []).filter((one) => one.kind === kind);
    if (name) return ports.find((one) => one.name === name);
    return ports.find((one) => !lane || one.lane === lane) ?? ports.find((one) => !one.lane);
  }

  /** Where connections may begin. */
  starts(component: string): NodePort[] {
    return (this.ports.get(component) ?? []).filter((one) => one.kind === "output" || (one.kind === "invokes" && this.count(one) < one.most));
  }

  /** Where a connection that begins at a port may end. */
  targets(begin: NodePort): NodePort[] {
    const before = this.upstream(begin);
    const taken = new Set(this.connections.filter((one) => samePort(this.endsOf(one).begin, begin)).map((one) => portKey(this.endsOf(one).end)));
    const wanted = begin.kind === "invokes" ? "helps" : "input";
    if (begin.kind === "invokes" && this.count(begin) >= begin.most) return [];
    return [...this.ports.values()].flat().filter((one) => {
      if (one.kind !== wanted || before.has(one.component) || taken.has(portKey(one))) return false;
      return wanted === "helps" ? one.offers.includes(begin.name) : !one.lane || !begin.lane || one.lane === begin.lane;
    });
  }

  /** The entry that connects two ports. It names them only where the lane does not tell which ones are meant. */
  entryOf(begin: NodePort, end: NodePort): { field: "input" | "control"; entry: JsonObject } {
    if (begin.kind === "invokes") {
      return { field: "control", entry: { classType: begin.name, from: begin.component, ...(begin.called ? { name: begin.called } : {}) } };
    }
    const lane = begin.lane || end.lane;
    const outputs = (this.ports.get(begin.component) ?? []).filter((one) => one.kind === "output" && one.lane === lane);
    const inputs = (this.ports.get(end.component) ?? []).filter((one) => one.kind === "input" && (one.lane === lane || !one.lane));
    const names = { ...(outputs.length > 1 ? { output: begin.name } : {}), ...(inputs.length > 1 ? { input: end.name } : {}) };
    return { field: "input", entry: { lane, from: begin.component, ...names } };
  }

  private count(port: NodePort): number {
    return this.connections.filter((one) => one.kind === "control" && one.from === port.component && one.entry["classType"] === port.name).length;
  }

  /** The component of a port and those before it: a connection to one of them would close a cycle. */
  private upstream(port: NodePort): Set<string> {
    const kind = port.kind === "invokes" ? "control" : "lane";
    const origins = new Map<string, string[]>();
    for (const one of this.connections) if (one.kind === kind) origins.set(one.to, [...(origins.get(one.to) ?? []), one.from]);
    const found = new Set([port.component]);
    for (const id of found) for (const origin of origins.get(id) ?? []) found.add(origin);
    return found;
  }
}

export const portKey = (port: NodePort | undefined): string => (port ? `${port.component}\n${port.kind}\n${port.name}` : "");

const samePort = (a: NodePort | undefined, b: NodePort): boolean => portKey(a) === portKey(b);

/** A port in words: "llm_1 · questions". */
export function portName(port: NodePort): string {
  if (port.kind === "helps") return `${port.component} · helper`;
  return `${port.component} · ${port.name}${port.kind === "invokes" ? " (helper)" : ""}`;
}
