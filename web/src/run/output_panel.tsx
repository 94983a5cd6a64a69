/** What has reached the targets, as it streams. */
import { Component } from "preact";
import { count, plural } from "../app/format.ts";
import { CopyButton } from "../widgets/copy.tsx";
import { Empty } from "../widgets/empty.tsx";
import { Markdown } from "../widgets/markdown.tsx";
import { ValueView } from "../widgets/value.tsx";
import type { OutputBlock, OutputStream } from "./outputs.ts";
import type { RunModel } from "./run_model.ts";
import { useTick } from "./run_store.ts";

/** Blocks of a stream that are drawn; a button shows the others. */
const SHOWN = 40;
/** From so many characters on a text is drawn after a pause that grows with it. */
const LONG = 4_000;
const CHARACTERS_PER_MS = 80;
const MOST_PAUSE = 1_000;

export function OutputPanel({ model }: { model: RunModel }) {
  useTick(model);
  const streams = [...model.outputs.values()];
  if (!streams.length) {
    const title = model.ended ? "No output has reached a target" : "No output yet";
    return <Empty title={title}>{!model.ended && <p>Outputs appear here while the run delivers them.</p>}</Empty>;
  }
  return (
    <div class="stack">
      {streams.map((stream) => (
        <Stream key={stream.key} stream={stream} revision={stream.revision} live={!model.ended} />
      ))}
    </div>
  );
}

interface StreamProps {
  stream: OutputStream;
  revision: number;
  live: boolean;
}

class Stream extends Component<StreamProps, { all: boolean }> {
  override state = { all: false };

  override shouldComponentUpdate(next: StreamProps, state: { all: boolean }): boolean {
    return next.revision !== this.props.revision || next.live !== this.props.live || state.all !== this.state.all;
  }

  override render({ stream, live }: StreamProps, { all }: { all: boolean }) {
    const { blocks } = stream;
    const shown = all ? blocks : blocks.slice(-SHOWN);
    const hidden = blocks.length - shown.length;
    const values = blocks.length > 2 && blocks.every((one) => one.kind === "value");
    const ordered = values ? [...shown].reverse() : shown; // of many values the latest comes first
    return (
      <article class="output" aria-label={`Output of ${stream.component}`}>
        <header>
          <strong class="mono">{stream.component}</strong>
          <span class="faint">
            {stream.port} · {plural(stream.count, "item")}
          </span>
          <CopyButton text={textOf(blocks)} />
        </header>
        {!values && this.earlier(hidden)}
        {ordered.map((block) => (
          <Block key={block.key} block={block} size={sizeOf(block)} live={live} name={stream.component} open={values ? 0 : 2} />
        ))}
        {values && this.earlier(hidden)}
        {stream.dropped > 0 && <p class="faint">{plural(stream.dropped, "earlier item")} are no longer shown.</p>}
      </article>
    );
  }

  private earlier(hidden: number) {
    if (!hidden) return null;
    return (
      <button class="button small start" onClick={() => this.setState({ all: true })}>
        Show {count(hidden)} earlier
      </button>
    );
  }
}

interface BlockProps {
  block: OutputBlock;
  size: string;
  live: boolean;
  name: string;
  open: number;
}

export class Block extends Component<BlockProps> {
  private drawn = 0;
  private timer = 0;

  /** A long text is drawn less often, because its last paragraph is read again as a whole. */
  override shouldComponentUpdate(next: BlockProps): boolean {
    if (next.block !== this.props.block || next.live !== this.props.live) return true;
    if (next.size === this.props.size || this.timer) return false;
    const length = next.block.kind === "text" ? next.block.text.length : 0;
    const left = this.drawn + Math.min(MOST_PAUSE, length / CHARACTERS_PER_MS) - performance.now();
    if (length < LONG || left <= 0) return true;
    this.timer = window.setTimeout(() => {
      this.timer = 0;
      this.forceUpdate();
    }, left);
    return false;
  }

  override componentWillUnmount(): void {
    clearTimeout(this.timer);
  }

  override render({ block, live, name, open }: BlockProps) {
    this.drawn = performance.now();
    if (block.kind === "value") {
      return (
        <div class="output-block">
          {block.value !== undefined && <ValueView value={block.value} lane={block.lane} name={name} open={open} />}
          {block.outcome && <p class="error-line">This item ended early: {block.outcome}</p>}
        </div>
      );
    }
    const usage = block.usage;
    const notes = [
      block.finish && block.finish !== "stop" && `ended by ${block.finish}`,
      usage && `${count(usage.prompt_tokens ?? 0)} tokens in, ${count(usage.completion_tokens ?? 0)} out`,
    ].filter(Boolean);
    return (
      <div class={live && !block.done && block.group ? "output-block streaming" : "output-block"}>
        {block.cut > 0 && <p class="faint">The first {count(block.cut)} characters are no longer shown.</p>}
        <Markdown text={block.text} />
        {notes.length > 0 && <p class="faint number">{notes.join(" · ")}</p>}
      </div>
    );
  }
}

export const sizeOf = (block: OutputBlock): string => (block.kind === "text" ? `${block.text.length} ${block.cut} ${block.done} ${block.finish}` : "");

export function textOf(blocks: readonly OutputBlock[]): string {
  return blocks.map((one) => (one.kind === "text" ? one.text : JSON.stringify(one.value, null, 2))).join("\n");
}
