// Command bench is the client in Go of the benchmark of languages: bench ADDRESS FILE TEXT REQUESTS sends the text so many times, one
// after the other, reads every output, and prints what it measured as JSON.
package main

import (
	"context"
	"encoding/json"
	"log"
	"os"
	"strconv"
	"time"

	lanemesh "lanemesh/sdk/go"
)

func main() {
	if len(os.Args) != 5 {
		log.Fatal("usage: bench ADDRESS FILE TEXT REQUESTS")
	}
	requests, err := strconv.Atoi(os.Args[4])
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	client, err := lanemesh.Dial(ctx, os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	measured := struct {
		Milliseconds []float64 `json:"milliseconds"`
		Outputs      int       `json:"outputs"`
	}{}
	for i := 0; i < requests; i++ {
		started := time.Now()
		result, err := client.Request(ctx, lanemesh.File(os.Args[2]), lanemesh.Text(os.Args[3]))
		if err != nil {
			log.Fatal(err)
		}
		measured.Outputs += len(result.Outputs)
		measured.Milliseconds = append(measured.Milliseconds, float64(time.Since(started))/float64(time.Millisecond))
	}
	if err := json.NewEncoder(os.Stdout).Encode(measured); err != nil {
		log.Fatal(err)
	}
}
