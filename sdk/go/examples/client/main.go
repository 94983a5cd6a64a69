// Command client runs a pipeline with one text and prints what it delivers: client -orchestrator 127.0.0.1:7070 chat.pipe "Hello"
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"time"

	lanemesh "lanemesh/sdk/go"
)

func main() {
	address := flag.String("orchestrator", "127.0.0.1:7070", "address of the orchestrator, HOST:PORT")
	flag.Parse()
	if flag.NArg() != 2 {
		log.Fatal("usage: client [-orchestrator HOST:PORT] FILE TEXT")
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	client, err := lanemesh.Dial(ctx, *address)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	run, err := client.Run(ctx, lanemesh.File(flag.Arg(0)), lanemesh.WithInput(lanemesh.Text(flag.Arg(1))))
	if err != nil {
		log.Fatal(err)
	}
	defer run.Close()
	for output := range run.Outputs() {
		fmt.Print(lanemesh.TextOf(output.Item))
	}
	fmt.Println()
	if err := run.Err(); err != nil {
		log.Fatal(err)
	}
}
