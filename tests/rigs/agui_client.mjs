// Runs agents with the client of AG-UI. Its arguments are the folder of the packages and the URL of a gateway.
import { createRequire } from "node:module";
import { join } from "node:path";

const [folder, url] = process.argv.slice(2);
const { HttpAgent } = createRequire(join(folder, "package.json"))("@ag-ui/client");

// A new conversation with an agent, and what it collects.
function talk(name) {
  const agent = new HttpAgent({ url: `${url}/v1/agui/${name}`, threadId: `thread-${name}` });
  const found = { events: [], calls: [], results: [] };
  const subscriber = {
    onEvent: ({ event }) => void found.events.push(event.type),
    onToolCallEndEvent: ({ toolCallName, toolCallArgs }) => void found.calls.push([toolCallName, toolCallArgs]),
    onToolCallResultEvent: ({ event }) => void found.results.push(event.content),
  };
  const ask = async (text, options = {}) => {
    if (text) agent.addMessage({ id: crypto.randomUUID(), role: "user", content: text });
    await agent.runAgent(options, subscriber);
    return agent.messages.filter((message) => message.role === "assistant").at(-1)?.content ?? "";
  };
  return { agent, found, ask };
}

const words = talk("words");
const first = await words.ask("hello");
const second = await words.ask("again");

const adds = talk("adds");
const sum = await adds.ask("add");
const after = await adds.ask("thanks");

const asks = talk("asks");
await asks.ask("add");
const [interrupt] = asks.agent.pendingInterrupts;
const resume = [{ interruptId: interrupt.id, status: "resolved", payload: { approved: true } }];
const approved = await asks.ask("", { resume });

const broken = talk("broken");
let failure = "";
broken.agent.addMessage({ id: "1", role: "user", content: "go" });
await broken.agent
  .runAgent({}, { onRunErrorEvent: ({ event }) => void (failure = event.message) })
  .catch((error) => (failure ||= String(error)));

console.log(
  JSON.stringify({
    first,
    second,
    sum,
    after,
    calls: adds.found.calls,
    results: adds.found.results,
    state: words.agent.state.lanemesh.nodes.llm,
    interrupt: [interrupt.reason, interrupt.metadata.lanemesh.tool],
    approved,
    approvedResults: asks.found.results,
    open: asks.agent.pendingInterrupts.length,
    failure,
  }),
);
