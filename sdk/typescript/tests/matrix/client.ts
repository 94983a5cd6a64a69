/** The client in TypeScript of the matrix of languages: `client.js HOST:PORT`. tests/matrix/programs.py describes what it reads and prints. */

import { createInterface } from "node:readline";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { decodeTyped, encodeTyped } from "../../src/codec.js";
import { fromThrown, toFault } from "../../src/errors.js";
import { FaultSchema } from "../../src/gen/lanemesh/v1/fault_pb.js";
import { ItemSchema } from "../../src/gen/lanemesh/v1/lane_pb.js";
import { StartRunRequestSchema } from "../../src/gen/lanemesh/v1/run_pb.js";
import { Client, type Input, type Run } from "../../src/index.js";

const client = new Client(process.argv[2] ?? "");
let present: Run | undefined;
let go = () => {};
let last = Promise.resolve();

const encoded = (bytes: Uint8Array) => Buffer.from(bytes).toString("base64");
const print = (line: string) => void process.stdout.write(`${line}\n`);

async function execute(hold: number, content: Buffer): Promise<void> {
  const request = fromBinary(StartRunRequestSchema, content);
  const inputs: Input[] = request.inputs.map(({ item }) => {
    const value = item && decodeTyped(item);
    if (value === undefined) throw new Error("an input has no value");
    return value;
  });
  const going = new Promise<void>((resolve) => {
    go = resolve;
  });
  const pipeline = request.spec?.source.value;
  if (typeof pipeline !== "string") throw new Error("the run has no pipeline");
  const run = client.run(pipeline, { inputs });
  present = run;
  try {
    print(`started ${await run.started}`);
    let outputs = 0;
    for await (const output of run.outputs()) {
      print(`output ${encoded(toBinary(ItemSchema, encodeTyped(output, "the matrix")))}`);
      outputs += 1;
      if (outputs !== hold) continue;
      print("held");
      await going;
    }
    print("end -");
  } catch (error) {
    print(`end ${encoded(toBinary(FaultSchema, create(FaultSchema, toFault(fromThrown(error)))))}`);
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  const [command, ...words] = line.split(" ");
  if (command === "go") go();
  else if (command === "cancel") await present?.cancel(words.join(" "));
  else if (command === "run") {
    const [hold, text] = words;
    last = last.then(() => execute(Number(hold), Buffer.from(text ?? "", "base64")));
  }
}
present?.close();
go();
await last;
client.close();
