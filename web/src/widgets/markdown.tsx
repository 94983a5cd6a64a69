/**
 * Markdown as elements. marked reads it into tokens, and each token becomes an element of Preact: no HTML of a model is ever parsed.
 * While a text grows, only its last blocks are read and drawn again.
 */
import { Component, type ComponentChildren, type VNode } from "preact";
import { Lexer, type Token, type Tokens } from "marked";
import { CopyButton } from "./copy.tsx";

const SAFE_LINK = /^(https?:|mailto:|#)/i;
const SAFE_IMAGE = /^data:image\/(png|jpeg|gif|webp);base64,/i;
/** Blocks at the end that further text may still change, such as a list that goes on. */
const OPEN_BLOCKS = 2;

export class Markdown extends Component<{ text: string }> {
  private closedText = "";
  private closed: Token[] = [];

  override shouldComponentUpdate(next: { text: string }): boolean {
    return next.text !== this.props.text;
  }

  override render({ text }: { text: string }) {
    return (
      <div class="markdown">
        {this.blocks(text).map((token, index) => (
          <Block key={index} token={token} />
        ))}
      </div>
    );
  }

  private blocks(text: string): Token[] {
    if (!this.closedText || !text.startsWith(this.closedText)) {
      this.closedText = "";
      this.closed = [];
    }
    const tail = text.slice(this.closedText.length);
    const tokens = Lexer.lex(tail, { gfm: true });
    const open = tokens.slice(-OPEN_BLOCKS);
    const closing = tokens.slice(0, -OPEN_BLOCKS);
    const blocks = [...this.closed, ...tokens];
    const raw = closing.map((token) => token.raw).join("");
    if (closing.length && open.length && tail.startsWith(raw)) {
      this.closedText += raw;
      this.closed.push(...closing);
    }
    return blocks;
  }
}

class Block extends Component<{ token: Token }> {
  override shouldComponentUpdate(next: { token: Token }): boolean {
    return next.token.raw !== this.props.token.raw || next.token.type !== this.props.token.type;
  }

  override render({ token }: { token: Token }) {
    return block(token);
  }
}

function block(token: Token): VNode | string | null {
  switch (token.type) {
    case "space":
    case "def":
      return null;
    case "heading": {
      const { depth, tokens } = token as Tokens.Heading;
      const Tag = `h${Math.min(6, depth + 1)}` as "h2";
      return <Tag>{inlines(tokens)}</Tag>;
    }
    case "paragraph":
      return <p>{inlines((token as Tokens.Paragraph).tokens)}</p>;
    case "text": {
      const { tokens, text } = token as Tokens.Text;
      return <>{tokens ? inlines(tokens) : text}</>;
    }
    case "code":
      return <Code text={(token as Tokens.Code).text} language={(token as Tokens.Code).lang ?? ""} />;
    case "blockquote":
      return <blockquote>{(token as Tokens.Blockquote).tokens.map(block)}</blockquote>;
    case "list":
      return list(token as Tokens.List);
    case "table":
      return table(token as Tokens.Table);
    case "hr":
      return <hr />;
    default:
      return <p>{token.raw}</p>; // HTML and all that is unknown, as text
  }
}

function list(token: Tokens.List): VNode {
  const items = token.items.map((item, index) => (
    <li key={index}>
      {item.task && <input type="checkbox" checked={item.checked ?? false} disabled aria-label={item.checked ? "done" : "open"} />}
      {item.tokens.filter((one) => one.type !== "checkbox").map(block)}
    </li>
  ));
  return token.ordered ? <ol start={Number(token.start) || 1}>{items}</ol> : <ul>{items}</ul>;
}

function table(token: Tokens.Table): VNode {
  return (
    <div class="table-scroll" tabIndex={0} role="region" aria-label="Table">
      <table class="table">
        <thead>
          <tr>
            {token.header.map((cell) => (
              <th scope="col">{inlines(cell.tokens)}</th>
            ))}
          </tr>
        </thead>
        <tbody>
          {token.rows.map((row) => (
            <tr>
              {row.map((cell) => (
                <td>{inlines(cell.tokens)}</td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function inlines(tokens: Token[]): ComponentChildren {
  return tokens.map(inline);
}

function inline(token: Token): ComponentChildren {
  switch (token.type) {
    case "strong":
      return <strong>{inlines((token as Tokens.Strong).tokens)}</strong>;
    case "em":
      return <em>{inlines((token as Tokens.Em).tokens)}</em>;
    case "del":
      return <del>{inlines((token as Tokens.Del).tokens)}</del>;
    case "codespan":
      return <code>{(token as Tokens.Codespan).text}</code>;
    case "br":
      return <br />;
    case "link": {
      const { href, tokens } = token as Tokens.Link;
      return SAFE_LINK.test(href) ? <Link href={href}>{inlines(tokens)}</Link> : <>{inlines(tokens)}</>;
    }
    case "image": {
      const { href, text } = token as Tokens.Image;
      if (SAFE_IMAGE.test(href)) return <img src={href} alt={text} />;
      return SAFE_LINK.test(href) ? <Link href={href}>{text || href}</Link> : text;
    }
    case "escape":
      return (token as Tokens.Escape).text;
    case "text": {
      const { tokens, text } = token as Tokens.Text;
      return tokens ? inlines(tokens) : text;
    }
    default:
      return token.raw;
  }
}

function Link({ href, children }: { href: string; children: ComponentChildren }) {
  return (
    <a href={href} target="_blank" rel="noopener noreferrer">
      {children}
    </a>
  );
}

export function Code({ text, language }: { text: string; language: string }) {
  return (
    <figure class="code">
      <figcaption>
        <span>{language.split(/\s/)[0] || "code"}</span>
        <CopyButton text={text} />
      </figcaption>
      <pre tabIndex={0}>
        <code>{text}</code>
      </pre>
    </figure>
  );
}
