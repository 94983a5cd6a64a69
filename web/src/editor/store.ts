/** The open document: its text is what counts, and all of the editor changes it. It stays open while other views are shown. */
import { computed, signal } from "@preact/signals";
import type { PipelineDocument, PipelineFault } from "../app/types.ts";
import { api } from "../app/api.ts";
import type { NodeType } from "../app/catalogue.ts";
import { notify } from "../app/notices.tsx";
import { EMPTY, withComponent, withConnection, withoutComponent, withoutConnection, withPositions } from "./changes.ts";
import { History } from "./history.ts";
import { documentText, rewritten } from "./json_text.ts";
import { framesOf, freePlace, sizeOf } from "./placement.ts";
import { freeId, isObject, partsOf, positionsOf, type JsonObject, type Point } from "./pipeline_parts.ts";
import { catalogueOf, portsOf, Wiring, type NodePort } from "./ports.ts";

export type Selection = { kind: "node"; id: string } | { kind: "edge"; pointer: string } | undefined;

/** What a connection begins at; without a port: the component whose ports are offered. */
export interface Pending {
  component: string;
  port?: NodePort;
}

function parsed(text: string): PipelineDocument | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return isObject(value) ? (value as PipelineDocument) : undefined;
  } catch {
    return undefined;
  }
}

class EditorStore {
  readonly text = signal(documentText(EMPTY));
  /** Its last text that was JSON, as a document. */
  readonly document = signal<PipelineDocument>(EMPTY);
  readonly readable = signal(true);
  /** What it was opened from: "@NAME", or a file. */
  readonly origin = signal("");
  readonly fileName = signal("pipeline");
  /** Moves when another document is opened: then all of it is shown. */
  readonly opened = signal(0);
  readonly selection = signal<Selection>(undefined);
  readonly pending = signal<Pending | undefined>(undefined);
  readonly faults = signal<PipelineFault[]>([]);
  readonly types = signal<readonly NodeType[]>([]);
  readonly catalogue = computed(() => catalogueOf(this.types.value));
  readonly wiring = computed(() => new Wiring(this.document.value, this.catalogue.value));
  readonly frames = computed(() => framesOf(this.wiring.value, positionsOf(this.document.value)));
  /** Moves with each step of the history. */
  readonly steps = signal(0);
  readonly history = new History();
  private saved = this.text.value;

  get changed(): boolean {
    return this.text.value !== this.saved;
  }

  /** A document with changes that are kept nowhere else stays in the history: undoing brings it back. */
  open(text: string, name: string, origin: string): void {
    if (this.changed) this.history.note(this.text.value, "", performance.now());
    else this.history.clear();
    this.document.value = EMPTY;
    this.show(text);
    this.saved = text;
    this.fileName.value = name;
    this.origin.value = origin;
    this.selection.value = undefined;
    this.pending.value = undefined;
    this.opened.value++;
  }

  openEmpty(): void {
    this.open(documentText(EMPTY), "pipeline", "");
  }

  /** The text is kept elsewhere: in a file, or as a deployment. */
  markSaved(): void {
    this.saved = this.text.value;
    this.steps.value++;
  }

  /** Takes a text that was typed. */
  type(text: string): void {
    this.history.note(this.text.value, "text", performance.now());
    this.show(text);
  }

  /** @param place Changes of one place that follow each other shortly are undone together. */
  change(next: PipelineDocument, place = ""): void {
    if (next === this.document.value) return;
    if (!this.readable.value) return notify("The text is not JSON. Mend it first; then the graph can be changed.", true);
    this.history.note(this.text.value, place, performance.now());
    this.text.value = rewritten(this.text.value, this.document.value, next);
    this.document.value = next;
    this.steps.value++;
  }

  undo(): void {
    this.travel(this.history.undo(this.text.value));
  }

  redo(): void {
    this.travel(this.history.redo(this.text.value));
  }

  private travel(text: string | undefined): void {
    if (text === undefined) return;
    this.pending.value = undefined;
    this.show(text);
    const { value: selection } = this.selection;
    if (selection?.kind === "edge" && !this.wiring.value.connections.some((one) => one.pointer === selection.pointer)) this.selection.value = undefined;
    if (selection?.kind === "node" && !this.wiring.value.parts.some((one) => one.id === selection.id)) this.selection.value = undefined;
  }

  private show(text: string): void {
    this.text.value = text;
    const document = parsed(text);
    this.readable.value = document !== undefined;
    if (document) this.document.value = document;
    this.steps.value++;
  }

  /** Adds a node of a type at a point, or beside the others; returns its id. */
  add(type: NodeType, at?: Point): string {
    const document = this.document.value;
    const id = freeId(document, type.provider);
    const entry: JsonObject = { id, provider: type.provider };
    const part = { index: 0, id, provider: type.provider, entry: { id, provider: type.provider } };
    const size = sizeOf(portsOf(part, type), id, type.provider);
    const frames = this.frames.value;
    const right = Math.max(0, ...[...frames.values()].map((one) => one.x + one.width + 78));
    const last = [...frames.values()].at(-1);
    const place = at ? { x: at.x - size.width / 2, y: at.y - 23 } : freePlace(frames.values(), { x: right || 24, y: last?.y ?? 24 }, size);
    let next = withComponent(document, entry);
    if (type.boundary === "source" && document.source === undefined && !partsOf(document).some((one) => this.catalogue.value.get(one.provider)?.boundary === "source")) {
      next = { ...next, source: id };
    }
    this.change(withPositions(next, new Map([...frames, [id, place]])));
    this.selection.value = { kind: "node", id };
    return id;
  }

  /** Moves nodes; the others are kept where they are drawn now. */
  move(places: ReadonlyMap<string, Point>, step = ""): void {
    this.change(withPositions(this.document.value, new Map<string, Point>([...this.frames.value, ...places])), step);
  }

  connect(begin: NodePort, end: NodePort): void {
    this.pending.value = undefined;
    const { field, entry } = this.wiring.value.entryOf(begin, end);
    const to = end.component;
    this.change(withConnection(this.document.value, to, field, entry));
    const made = this.wiring.value.connections.filter((one) => one.to === to && one.pointer.includes(`/${field}/`)).at(-1);
    this.selection.value = made && { kind: "edge", pointer: made.pointer };
  }

  remove(selection: Selection): void {
    if (!selection) return;
    const { value: document } = this.document;
    this.change(selection.kind === "node" ? withoutComponent(document, selection.id) : withoutConnection(document, selection.pointer));
    this.selection.value = undefined;
    this.pending.value = undefined;
  }

  async loadTypes(abort: AbortSignal): Promise<void> {
    const { node_types: types } = await api.nodeTypes(abort);
    this.types.value = types;
  }
}

export const editor = new EditorStore();

/** The faults at a pointer and below it. */
export function faultsAt(faults: readonly PipelineFault[], pointer: string): PipelineFault[] {
  return faults.filter((one) => one.pointer === pointer || one.pointer.startsWith(`${pointer}/`));
}

/** What is at the pointer of a fault: the connection or node whose place it is. */
export function placeOfFault(pointer: string, parts: readonly { index: number; id: string }[]): Selection {
  const edge = /^\/components\/\d+\/(?:input|control)\/\d+/.exec(pointer);
  if (edge) return { kind: "edge", pointer: edge[0] };
  const index = /^\/components\/(\d+)/.exec(pointer)?.[1];
  const part = index === undefined ? undefined : parts.find((one) => one.index === Number(index));
  return part && { kind: "node", id: part.id };
}
