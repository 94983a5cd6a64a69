import { spawn } from "node:child_process";
import { mkdtemp, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { afterAll, beforeAll, expect, inject, test } from "vitest";
import { Client } from "../src/index.js";
import { Server } from "./mesh.js";

const root = fileURLToPath(new URL("..", import.meta.url));
const BLOCK = /```ts\n(.*?)```\n\n```text\n(.*?)```/gs;

let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(root, "node_modules", ".examples-"));
  await writeFile(join(folder, "package.json"), '{"type": "module"}');
  await symlink(join(root, "node_modules"), join(folder, "node_modules"));
});

afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

/** Starts a program in TypeScript, as JavaScript, with the package of this folder. */
async function start(name: string, contents: string, ...args: string[]): Promise<Server> {
  const outfile = join(folder, `${name}.js`);
  const alias = { "lanemesh/browser": join(root, "src/browser/index.ts"), lanemesh: join(root, "src/index.ts") };
  await build({
    stdin: { contents, loader: "ts", resolveDir: folder },
    ...{ outfile, alias, bundle: true, platform: "node", format: "esm", packages: "bundle", logLevel: "silent" },
    banner: { js: 'import { createRequire } from "node:module"; const require = createRequire(import.meta.url);' },
  });
  return new Server(spawn(process.execPath, [outfile, ...args], { stdio: ["ignore", "pipe", "pipe"] }));
}

/** What a program has written when it has ended. */
async function outputOf(program: Server): Promise<string> {
  await program.ended;
  expect(program.child.exitCode, program.output).toBe(0);
  return program.output;
}

test("the blocks of the README print what it shows", async () => {
  const page = await readFile(join(root, "README.md"), "utf8");
  const blocks = [...page.matchAll(BLOCK)];
  expect(blocks.length).toBeGreaterThan(4);
  for (const [index, [, code = "", shown]] of blocks.entries()) {
    const program = await start(`readme-${index}`, code.replaceAll("127.0.0.1:7070", inject("mesh")));
    expect(await outputOf(program)).toBe(shown);
  }
});

test("the examples run", async () => {
  const example = async (name: string) => readFile(join(root, "examples", `${name}.ts`), "utf8");
  expect((await readdir(join(root, "examples"))).sort()).toEqual(["client.ts", "watch.ts", "words.ts"]);
  const words = await start("words", await example("words"), inject("mesh"));
  await words.wrote("joined as typescript");
  const [client, watch] = await Promise.all([
    start("client", await example("client"), inject("mesh"), "a b c").then(outputOf),
    start("watch", await example("watch"), inject("mesh")).then(outputOf),
  ]);
  expect(client).toBe("A\nB\nC\n");
  expect(watch).toContain('"items":3');
  expect(watch.trim().split("\n").at(-1)).toBe("job");
  const pipeline = {
    components: [
      { id: "in", provider: "chat" },
      { id: "words", provider: "words_ts", config: { longest: 3 }, input: [{ lane: "text", from: "in" }] },
      { id: "counts", provider: "frequencies_ts", input: [{ lane: "text", from: "words" }] },
      { id: "out", provider: "response", config: { lane: "data" }, input: [{ lane: "data", from: "counts" }] },
    ],
    version: 1,
  };
  await using user = new Client(inject("mesh"));
  const { value } = await user.request(pipeline, "the cat and the elephant");
  expect(value).toEqual({ lane: "data", value: { the: 2, cat: 1, and: 1 } });
  await words.stop();
});
