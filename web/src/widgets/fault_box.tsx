/** An error: what happened first, then where, then the details. */
import type { ComponentChildren } from "preact";
import { Icon } from "../app/icons.tsx";
import type { Fault } from "../app/types.ts";

/** Details that `where` has in words. */
const NAMED = new Set(["component", "provider", "server"]);

/** `where`: the component, its node type and its server. */
export function FaultBox({ fault, title, where }: { fault: Fault; title?: string; where?: ComponentChildren }) {
  const details = Object.entries(fault.details ?? {}).filter(([name]) => !(where && NAMED.has(name)));
  return (
    <section class="fault" role="alert">
      <header>
        <Icon name="alert" />
        <h2>{title ?? "Failed"}</h2>
        <code class="reason">{fault.reason}</code>
      </header>
      <p class="fault-message">{fault.message}</p>
      {where && <div class="fault-where">{where}</div>}
      {fault.traceback && (
        <details open>
          <summary>Traceback</summary>
          <pre tabIndex={0} aria-label="Traceback">
            {fault.traceback}
          </pre>
        </details>
      )}
      {details.length > 0 && (
        <dl class="pairs">
          {details.map(([name, value]) => (
            <div key={name}>
              <dt>{name}</dt>
              <dd>{value}</dd>
            </div>
          ))}
        </dl>
      )}
    </section>
  );
}

/** The message of a request that failed. */
export function ErrorLine({ error }: { error: { message: string } | undefined }) {
  if (!error) return null;
  return (
    <p class="error-line" role="alert">
      <Icon name="alert" size={17} />
      {error.message}
    </p>
  );
}
