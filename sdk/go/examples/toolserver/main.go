// Command toolserver serves the tools of the package tools: toolserver -listen 127.0.0.1:7800. A component of the node type tool_grpc
// with that address connects an agent to it.
package main

import (
	"flag"
	"fmt"
	"log"
	"net"

	"google.golang.org/grpc"

	lanemesh "lanemesh/sdk/go"
	"lanemesh/sdk/go/examples/tools"
	pb "lanemesh/sdk/go/lanemeshv1"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:7800", "address to listen on")
	flag.Parse()
	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		log.Fatal(err)
	}
	options, err := lanemesh.SecurityFromEnvironment().ServerOptions()
	if err != nil {
		log.Fatal(err)
	}
	server := grpc.NewServer(options...)
	pb.RegisterToolServiceServer(server, &tools.Server{})
	fmt.Println("tools at", listener.Addr())
	log.Fatal(server.Serve(listener))
}
