// Command node is a node server with the node types of the package words.
//
//	node -orchestrator 127.0.0.1:7070
//
// It prints where it listens, and ends on an interrupt, or when its standard input closes if -until-stdin-closes is given. It lets its
// runs end first, for ten seconds at most.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"syscall"
	"time"

	"lanemesh/sdk/go/conformance"
	"lanemesh/sdk/go/examples/words"
	"lanemesh/sdk/go/node"
)

func main() {
	orchestrator := flag.String("orchestrator", os.Getenv("LANEMESH_ORCHESTRATOR"), "address of the orchestrator to join, HOST:PORT")
	listen := flag.String("listen", "127.0.0.1:0", "address to listen on")
	name := flag.String("name", "words", "name of the server")
	untilStdin := flag.Bool("until-stdin-closes", false, "end when the standard input closes")
	tested := flag.Bool("conformance", false, "offer the node types of `lanemesh conformance` too")
	testedAs := flag.String("conformance-as", "", "offer these alone, under names such as NAME_echo, so that a mesh can have those of several servers")
	flag.Parse()
	types := words.Types[:len(words.Types):len(words.Types)]
	if *tested {
		types = append(types, conformance.Types...)
	}
	if *testedAs != "" {
		types = conformance.TypesAs(*testedAs)
	}

	server, err := node.NewServer(node.Options{Name: *name, Listen: *listen, Orchestrator: *orchestrator}, types...)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("listening on", server.Address())

	asked, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithCancel(context.Background())
	closed := make(chan struct{})
	if *untilStdin {
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin)
			close(closed)
		}()
	}
	go func() {
		select {
		case <-asked.Done():
		case <-closed:
		}
		draining, done := context.WithTimeout(ctx, 10*time.Second)
		defer done()
		_ = server.Drain(draining) // the runs that are left are cancelled
		cancel()
	}()
	if err := server.Serve(ctx); err != nil {
		log.Fatal(err)
	}
}
