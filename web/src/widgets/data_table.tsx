/** A table of JSON cells. Rows beyond the first ones are drawn on request. */
import { useState } from "preact/hooks";

const ROWS = 100;

export function DataTable({ columns, rows }: { columns: string[]; rows: unknown[][] }) {
  const [most, setMost] = useState(ROWS);
  return (
    <div class="stack">
      <div class="table-scroll" tabIndex={0} role="region" aria-label="Table">
        <table class="table">
          <thead>
            <tr>
              {columns.map((name) => (
                <th scope="col">{name}</th>
              ))}
            </tr>
          </thead>
          <tbody>
            {rows.slice(0, most).map((row, index) => (
              <tr key={index}>
                {row.map((cell) => (
                  <td class={typeof cell === "number" ? "number right" : ""}>{text(cell)}</td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {rows.length > most && (
        <button type="button" class="button small" onClick={() => setMost(most + 10 * ROWS)}>
          Show more of {rows.length.toLocaleString("en")} rows
        </button>
      )}
    </div>
  );
}

function text(cell: unknown): string {
  if (cell === null || cell === undefined) return "";
  return typeof cell === "object" ? JSON.stringify(cell) : String(cell);
}
