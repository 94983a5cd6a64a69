/** The sources of a document: what starts a run, of which each takes one. */
import type { NodeType } from "../app/catalogue.ts";
import type { PipelineDocument } from "../app/types.ts";
import { partsOf } from "./pipeline_parts.ts";

/** A component that the client feeds, or that feeds itself, such as a timer. */
export interface Source {
  id: string;
  /** The client feeds it. */
  fed: boolean;
}

export function sourcesOf(document: PipelineDocument, typeOf: (provider: string) => NodeType | undefined): Source[] {
  return partsOf(document).flatMap(({ id, provider, entry }) => {
    const type = typeOf(provider);
    const fed = type?.boundary === "source";
    const alone = Boolean(type?.outputs?.length && !type.inputs?.length && !type.boundary && !entry.control?.length);
    return fed || alone ? [{ id, fed }] : [];
  });
}

/** The source that a run takes: the chosen one if it is there, else that of the document, else the first. */
export function sourceOf(sources: Source[], document: PipelineDocument, chosen: string): Source | undefined {
  const named = (id: string | undefined) => sources.find((one) => one.id === id);
  return named(chosen) ?? named(document.source) ?? sources.find((one) => one.fed) ?? sources[0];
}
