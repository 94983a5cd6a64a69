// Uses the SDK of Anthropic as its users do, and prints what it got as JSON. Arguments: the folder with the SDK, the URL of a gateway.
import { createRequire } from "node:module";

const [folder, url] = process.argv.slice(2);
const Anthropic = createRequire(`${folder}/`)("@anthropic-ai/sdk").default;
const client = new Anthropic({ baseURL: url, apiKey: "none", maxRetries: 0 });
const messages = [{ role: "user", content: "Hello" }];
const tools = [{ name: "look", input_schema: { type: "object" } }];
const found = {};

const whole = await client.messages.create({ model: "chat", max_tokens: 99, messages });
found.whole = whole.content[0].text;
found.usage = whole.usage.output_tokens;

found.streamed = [];
for await (const event of await client.messages.create({ model: "chat", max_tokens: 99, messages, stream: true })) {
  if (event.type === "content_block_delta") found.streamed.push(event.delta.text);
}

const first = await client.messages.stream({ model: "tools", max_tokens: 99, messages, tools }).finalMessage();
found.stop_reason = first.stop_reason;
const results = first.content
  .filter((block) => block.type === "tool_use")
  .map((block) => ({ type: "tool_result", tool_use_id: block.id, content: "blue" }));
const turns = [...messages, { role: "assistant", content: first.content }, { role: "user", content: results }];
const second = await client.messages.create({ model: "tools", max_tokens: 99, messages: turns, tools });
found.answer = second.content[0].text;

try {
  await client.messages.create({ model: "none", max_tokens: 99, messages });
} catch (error) {
  found.error = [error.status, error.error.error.type];
}

const endless = await client.messages.create({ model: "endless", max_tokens: 99, messages, stream: true });
for await (const event of endless) if (event.type === "content_block_delta") break; // which aborts the request

console.log(JSON.stringify(found));
