// Uses the SDK of OpenAI as its users do, and prints what it got as JSON. Arguments: the folder with the SDK, the URL of a gateway.
import { createRequire } from "node:module";

const [folder, url] = process.argv.slice(2);
const OpenAI = createRequire(`${folder}/`)("openai").default;
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "none", maxRetries: 0 });
const messages = [{ role: "user", content: "Hello" }];
const tools = [{ type: "function", function: { name: "look", parameters: { type: "object" } } }];
const found = {};

found.models = (await client.models.list()).data.map((model) => model.id);

const whole = await client.chat.completions.create({ model: "chat", messages });
found.whole = whole.choices[0].message.content;

found.streamed = [];
const options = { stream: true, stream_options: { include_usage: true } };
for await (const chunk of await client.chat.completions.create({ model: "chat", messages, ...options })) {
  if (chunk.choices[0]?.delta.content) found.streamed.push(chunk.choices[0].delta.content);
  if (chunk.usage) found.usage = chunk.usage.total_tokens;
}

const first = (await client.chat.completions.stream({ model: "tools", messages, tools }).finalChatCompletion()).choices[0];
found.finish_reason = first.finish_reason;
const results = first.message.tool_calls.map((call) => ({ role: "tool", tool_call_id: call.id, content: "blue" }));
const second = await client.chat.completions.create({ model: "tools", messages: [...messages, first.message, ...results], tools });
found.answer = second.choices[0].message.content;

const background = await client.responses.create({ model: "chat", input: "Hello", background: true });
found.events = [];
for await (const event of await client.responses.retrieve(background.id, { stream: true, starting_after: 1 })) {
  found.events.push(event.type);
}
found.response = (await client.responses.retrieve(background.id)).output_text;

try {
  await client.chat.completions.create({ model: "none", messages });
} catch (error) {
  found.error = [error.status, error.code, error.param];
}

const endless = await client.chat.completions.create({ model: "endless", messages, stream: true });
for await (const chunk of endless) if (chunk.choices[0].delta.content) break; // which aborts the request

console.log(JSON.stringify(found));
