// A server of lanemesh.v1.ToolService in JavaScript, without any code of Lanemesh: gRPC over node:http2, and the few messages by hand.
// It prints its port, and then a line for each call that begins or is cancelled. It ends with its standard input.
import http2 from "node:http2";

const text = (field, value) => {
  const content = Buffer.from(value);
  return Buffer.concat([Buffer.from([(field << 3) | 2]), varint(content.length), content]);
};
const message = (field, ...parts) => {
  const content = Buffer.concat(parts);
  return Buffer.concat([Buffer.from([(field << 3) | 2]), varint(content.length), content]);
};
const flag = (field) => Buffer.from([field << 3, 1]);

function varint(number) {
  const bytes = [];
  for (; number > 127; number >>>= 7) bytes.push((number & 127) | 128);
  return Buffer.from([...bytes, number]);
}

function texts(content) {
  const found = {};
  for (let at = 0; at < content.length; ) {
    const key = content[at++];
    let length = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = content[at++];
      length |= (byte & 127) << shift;
      if (byte < 128) break;
    }
    if ((key & 7) !== 2) continue;
    found[key >> 3] = content.subarray(at, at + length).toString();
    at += length;
  }
  return found;
}

function send(stream, content) {
  const head = Buffer.alloc(5);
  head.writeUInt32BE(content.length, 1);
  stream.write(Buffer.concat([head, content]));
}

function end(stream, status = 0, why = "") {
  stream.once("wantTrailers", () => stream.sendTrailers({ "grpc-status": String(status), "grpc-message": why }));
  stream.end();
}

const parameters = { type: "object", properties: { word: { type: "string" } }, required: ["word"] };

const methods = {
  "/lanemesh.v1.ToolService/ListTools": (stream) => {
    const tools = [
      ["reverse", "Reverses a word."],
      ["hang", "Never ends."],
    ];
    send(stream, Buffer.concat(tools.map(([name, what]) =>
      message(1, text(1, name), text(2, what), text(3, JSON.stringify(parameters))))));
    end(stream);
  },
  "/lanemesh.v1.ToolService/CallTool": (stream, request) => {
    const { 1: id = "", 2: name, 3: given = "{}" } = texts(request);
    console.log(`begun ${name}`);
    send(stream, message(1, text(1, id), text(2, `working on ${given}`)));
    if (name === "hang") return stream.once("close", () => console.log("cancelled hang"));
    const { word } = JSON.parse(given);
    const known = word !== "";
    const content = known ? [...word].reverse().join("") : { error: "give a word" };
    send(stream, message(2, text(1, id), text(2, name), text(3, JSON.stringify(content)), ...(known ? [] : [flag(4)])));
    end(stream);
  },
};

const server = http2.createServer();
server.on("stream", (stream, headers) => {
  const pieces = [];
  stream.on("error", () => {});
  stream.on("data", (piece) => pieces.push(piece));
  stream.on("end", () => {
    const method = methods[headers[":path"]];
    stream.respond({ ":status": 200, "content-type": "application/grpc+proto" }, { waitForTrailers: true });
    if (method === undefined) return end(stream, 12, "unknown method");
    method(stream, Buffer.concat(pieces).subarray(5));
  });
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
process.stdin.resume().on("end", () => process.exit(0));
