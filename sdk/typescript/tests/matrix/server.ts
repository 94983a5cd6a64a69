/** The node server in TypeScript of the matrix of languages: `server.js HOST:PORT`. It ends when its standard input closes. */

import { clone } from "@bufbuild/protobuf";
import { ManifestSchema } from "../../src/gen/lanemesh/v1/node_pb.js";
import { type NodeType, serve } from "../../src/index.js";
import { nodes } from "../conformance-nodes.js";

/** A node type under a name such as ts_echo, so that a mesh can have those of several servers. */
function renamed(type: NodeType): NodeType {
  const provider = type.provider.replace(/^conformance/, "ts");
  const manifest = clone(ManifestSchema, type.manifest);
  manifest.provider = provider;
  return { ...type, provider, manifest };
}

const server = await serve({ orchestrator: process.argv[2] ?? "", name: "typescript", nodes: nodes.map(renamed) });
process.stdin.on("end", () => void server.close()).resume();
