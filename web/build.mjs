// Builds the page into the folder given, or into that of the gateway. The output depends on the sources and the lock file alone.
import { build } from "esbuild";
import { copyFileSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { minify } from "terser";

/** Most bytes of JavaScript and CSS together, compressed. */
const MOST_BYTES = 100_000;

const here = dirname(fileURLToPath(import.meta.url));
const folder = resolve(process.argv[2] ?? join(here, "../orchestrator/lanemesh_orchestrator/gateway/page"));

/**
 * The page uses the lexer of marked alone. Its module makes a parser when it is loaded, so that a bundler cannot leave out what that
 * needs: this plugin leaves the parser out.
 */
const lexerAlone = {
  name: "lexer-alone",
  setup(build) {
    build.onLoad({ filter: /marked\.esm\.js$/ }, ({ path }) => {
      const text = readFileSync(path, "utf8");
      const made = /var (\w+)=new \w+;function \w+\(\w+,\w+\)\{return \1\.parse\(/.exec(text);
      const lexer = /(\w+) as Lexer\b/.exec(text)?.[1];
      if (!made || !lexer) throw new Error(`${path} has another form than that of the pinned version: change web/build.mjs`);
      return { contents: `${text.slice(0, made.index)}export{${lexer} as Lexer};` };
    });
  },
};

rmSync(folder, { recursive: true, force: true });
mkdirSync(folder, { recursive: true });
const built = await build({
  absWorkingDir: here,
  entryPoints: { app: "src/main.tsx" },
  outdir: folder,
  bundle: true,
  minify: true,
  format: "esm",
  target: ["es2022"],
  jsx: "automatic",
  jsxImportSource: "preact",
  legalComments: "none",
  metafile: true,
  charset: "utf8",
  plugins: [lexerAlone],
  logLevel: "warning",
});
/** terser takes out about 4 % of what esbuild leaves. Reading a signal has an effect: its getters are not pure. */
const script = join(folder, "app.js");
const { code } = await minify(readFileSync(script, "utf8"), { module: true, ecma: 2022, compress: { passes: 3, pure_getters: false }, format: { comments: false } });
writeFileSync(script, code);
copyFileSync(join(here, "src/index.html"), join(folder, "index.html"));
copyFileSync(join(here, "src/icon.svg"), join(folder, "icon.svg"));

/** The licences of the packages in the bundle: each of them asks to be passed on. */
const packages = new Set(Object.keys(built.metafile.inputs).map((path) => /node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(path)?.[1]).filter(Boolean));
const licences = [...packages].sort().map((name) => {
  const root = join(here, "node_modules", name);
  const { version, license } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
  const file = readdirSync(root).find((one) => /^licen[cs]e/i.test(one));
  const text = file ? readFileSync(join(root, file), "utf8").replaceAll("\r", "").trim() : license;
  return `${name} ${version} (${license})\n\n${text}\n`;
});
writeFileSync(join(folder, "licenses.txt"), licences.join(`\n${"-".repeat(80)}\n\n`));

let total = 0;
for (const name of readdirSync(folder).filter((one) => /\.(js|css)$/.test(one))) {
  const bytes = gzipSync(readFileSync(join(folder, name)), { level: 9 }).length;
  total += bytes;
  console.log(`    ${name}: ${bytes.toLocaleString("en")} bytes compressed`);
}
if (total > MOST_BYTES) {
  console.error(`The page has ${total.toLocaleString("en")} bytes compressed, more than ${MOST_BYTES.toLocaleString("en")}.`);
  process.exit(1);
}
