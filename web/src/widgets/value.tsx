/** A value of a lane, by its type. */
import type { DocumentValue } from "../app/types.ts";
import { DataTable } from "./data_table.tsx";
import { JsonTree } from "./json_tree.tsx";
import { Markdown } from "./markdown.tsx";
import { isMedia, MediaView } from "./media.tsx";

/** `open`: how deep a JSON tree is unfolded at first. */
export function ValueView({ value, lane, name, open = 2 }: { value: unknown; lane?: string; name?: string; open?: number }) {
  if (typeof value === "string") return <Markdown text={value} />;
  if (isMedia(value)) return <MediaView media={value} name={name ?? lane ?? "output"} />;
  if (isTable(value)) return <DataTable columns={value.columns} rows={value.rows} />;
  if (lane === "documents" && isDocument(value)) {
    const { content, embedding: _, file, ...rest } = value;
    return (
      <div class="stack">
        {(content || !file) && <Markdown text={content} />}
        {file && <MediaView media={file} name={name} fileName={fileName(value.source)} />}
        {Object.keys(rest).length > 0 && <JsonTree value={rest} open={0} />}
      </div>
    );
  }
  return <JsonTree value={value} open={open} />;
}

function isTable(value: unknown): value is { columns: string[]; rows: unknown[][] } {
  const table = value as { columns?: unknown; rows?: unknown } | null;
  return typeof table === "object" && Array.isArray(table?.columns) && Array.isArray(table.rows) && table.rows.every(Array.isArray);
}

function isDocument(value: unknown): value is DocumentValue {
  return typeof value === "object" && value !== null && typeof (value as { content?: unknown }).content === "string";
}

/** The name of a source without its folders. */
function fileName(source = ""): string {
  return source.split(/[\\/]/).at(-1) ?? "";
}
