/** An answer: what the run delivers, the thoughts, tool calls and approvals before it, and how it ended. */
import { useEffect } from "preact/hooks";
import { clock, plural } from "../app/format.ts";
import { Icon } from "../app/icons.tsx";
import { href } from "../app/router.ts";
import { Block, sizeOf, textOf } from "../run/output_panel.tsx";
import { approvalKey, type RunModel } from "../run/run_model.ts";
import type { RunStore } from "../run/run_store.ts";
import { ApprovalCard } from "../widgets/approval_card.tsx";
import { CopyButton } from "../widgets/copy.tsx";
import { ErrorLine, FaultBox } from "../widgets/fault_box.tsx";
import { JsonTree } from "../widgets/json_tree.tsx";
import { Markdown } from "../widgets/markdown.tsx";
import { Thought, ToolCard } from "../widgets/tool_card.tsx";
import { sessionsChanged, type Turn } from "./chat.ts";

/** Steps and blocks of an answer that are drawn; the page of the run has all. */
const SHOWN = 60;
/** The finish reason of an answer that has reached the most tokens. */
const CUT = "length";

/** `onAgain` is undefined where the question cannot be asked again. */
export function Answer({ turn, onAgain }: { turn: Turn; onAgain: (() => void) | undefined }) {
  const store = turn.store.value;
  const error = turn.error.value;
  return (
    <article class="answer" aria-label="Answer" aria-busy={turn.active}>
      {error && <NotStarted error={error} />}
      {!error && !store && (turn.kept ? <KeptAnswer turn={turn} /> : <Waiting words="Starting" />)}
      {store && <LiveAnswer turn={turn} store={store} />}
      {!turn.active && <Actions turn={turn} onAgain={onAgain} />}
    </article>
  );
}

function NotStarted({ error }: { error: NonNullable<Turn["error"]["value"]> }) {
  return (
    <div class="stack">
      <ErrorLine error={{ message: error.message }} />
      {error.faults?.map((one) => (
        <p key={one.pointer} class="soft">
          <code>{one.pointer}</code> {one.message}
        </p>
      ))}
    </div>
  );
}

function KeptAnswer({ turn }: { turn: Turn }) {
  const { text, data, finish_reason } = turn.kept!.answer;
  return (
    <>
      {text && <Markdown text={text} />}
      {data !== undefined && <JsonTree value={data} />}
      {finish_reason === CUT && <CutOff />}
    </>
  );
}

function LiveAnswer({ turn, store }: { turn: Turn; store: RunStore }) {
  const { model } = store;
  void model.clock.tick.value;
  useEffect(() => {
    if (model.ended) sessionsChanged.value++;
  }, [model.ended]);
  const streams = [...model.outputs.values()].filter((one) => one.blocks.length);
  const lost = Boolean(store.error.value);
  const kept = turn.kept?.answer.text;
  const fromSession = Boolean(kept) && (lost || !streams.length || (model.gaps.length > 0 && !turn.kept?.truncated));
  return (
    <>
      <Steps model={model} answered={streams.length > 0} />
      {turn.stepsWanted && model.ended && !model.tools.length && !model.approvals.size && <p class="faint">It had no thoughts and no tool calls.</p>}
      {[...model.approvals.values()].map((approval) => (
        <ApprovalCard key={approvalKey(approval)} runId={model.id} approval={approval} ended={model.ended || lost} />
      ))}
      {fromSession && <Markdown text={kept!} />}
      {(fromSession ? [] : streams).map((stream) => (
        <div key={stream.key} class="answer-output">
          {streams.length > 1 && <p class="label">{stream.component}</p>}
          {stream.dropped > 0 && <p class="faint">{plural(stream.dropped, "earlier item")} are no longer shown.</p>}
          {stream.blocks.slice(-SHOWN).map((block) => (
            <Block key={block.key} block={block} size={sizeOf(block)} live={!model.ended} name={stream.component} open={1} />
          ))}
        </div>
      ))}
      {!model.ended && !lost && !streams.length && !fromSession && <Waiting words={wordsOf(model)} />}
      {!model.ended && store.connection.value === "waiting" && <p class="faint" role="status">The connection is lost; connecting again.</p>}
      {lost && <ErrorLine error={{ message: store.error.value }} />}
      {(fromSession ? turn.kept?.answer.finish_reason === CUT : streams.some((one) => one.blocks.some((block) => block.kind === "text" && block.finish === CUT))) && <CutOff />}
      <Ending model={model} silent={!streams.length && !fromSession} />
      {model.ended && !turn.inSession && <p class="faint">A session keeps questions and texts, so this turn is not in it. Its run is kept.</p>}
    </>
  );
}

function CutOff() {
  return <p class="faint ended">The answer is cut off: it has reached the most tokens that the model may write. Write “go on”, or raise max_tokens of the pipeline.</p>;
}

function wordsOf(model: RunModel): string {
  if (model.state === "starting") return "Starting";
  if ([...model.approvals.values()].some((one) => one.state === "requested")) return "Waiting for your decision";
  const progress = [...model.nodes.values()].findLast((one) => one.progress?.message)?.progress;
  return progress?.message || "Thinking";
}

function Waiting({ words }: { words: string }) {
  return (
    <p class="waiting-line" role="status">
      <span class="dots" aria-hidden="true">
        <i />
        <i />
        <i />
      </span>
      {words}
    </p>
  );
}

/** Open while there is no answer yet. */
function Steps({ model, answered }: { model: RunModel; answered: boolean }) {
  const events = model.tools.all();
  if (!events.length) return null;
  const calls = events.filter((one) => one.kind === "call").length;
  const agents = new Set(events.map((one) => one.component)).size > 1;
  const words = calls ? plural(calls, "tool call") : "Thoughts";
  return (
    <details class="steps" open={!answered || calls > 0}>
      <summary>{words}</summary>
      <div class="stack">
        {events.length > SHOWN && <p class="faint">{plural(events.length - SHOWN, "earlier step")} are on the page of the run.</p>}
        {events.slice(-SHOWN).map((event) =>
          event.kind === "thought" ? (
            <Thought key={event.key} text={event.text} who={agents ? event.component : ""} />
          ) : (
            <ToolCard key={event.key} call={event} revision={event.revision} who={agents ? event.component : ""} active={!model.ended} />
          ),
        )}
      </div>
    </details>
  );
}

/** How it ended, if not well. The cause comes first. */
function Ending({ model, silent }: { model: RunModel; silent: boolean }) {
  if (model.state === "failed" && model.error) {
    const cause = model.failures.find((one) => !one.error.secondary) ?? model.failures[0];
    const node = cause && model.nodes.get(cause.component);
    const where = node && (
      <>
        of the node type <a href={href("types", node.provider)}>{node.provider}</a>
        {node.placement && <> on the server {node.placement.server}</>}
      </>
    );
    return <FaultBox fault={cause?.error ?? model.error} title={cause ? `${cause.component} failed` : "The answer failed"} where={where} />;
  }
  if (model.state === "cancelled") return <p class="faint ended">{model.reason ? `Stopped: ${model.reason}` : "Stopped"}</p>;
  if (model.state === "completed" && silent) return <p class="faint ended">The pipeline has delivered nothing.</p>;
  return null;
}

function Actions({ turn, onAgain }: { turn: Turn; onAgain: (() => void) | undefined }) {
  const store = turn.store.value;
  const run = turn.runId.value;
  const text = store ? [...store.model.outputs.values()].map((one) => textOf(one.blocks)).join("\n\n") : (turn.kept?.answer.text ?? "");
  const time = store?.model.endedAt ?? turn.kept?.ended_at;
  return (
    <footer class="answer-actions">
      {text && <CopyButton text={text} />}
      {onAgain && (
        <button type="button" class="button quiet small" onClick={onAgain}>
          <Icon name="again" size={15} />
          {turn.error.value ? "Send again" : "Regenerate"}
        </button>
      )}
      {run && !store && (
        <button type="button" class="button quiet small" onClick={() => turn.showSteps()}>
          <Icon name="tool" size={15} />
          Steps
        </button>
      )}
      {run && (
        <a class="button quiet small" href={href("runs", run)} aria-label={`Run ${run}`}>
          <Icon name="run" size={15} />
          Run
        </a>
      )}
      {time && <span class="faint number">{clock(time)}</span>}
    </footer>
  );
}
