// Command matrix is the client in Go of the matrix of languages: matrix HOST:PORT. tests/matrix/programs.py describes what it reads
// and prints.
package main

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"strconv"
	"strings"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	lanemesh "lanemesh/sdk/go"
	pb "lanemesh/sdk/go/lanemeshv1"
)

const longestLine = 64 << 20

// present is the run that a command concerns.
type present struct {
	mu  sync.Mutex
	run *lanemesh.Run
}

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: matrix HOST:PORT")
	}
	client, err := lanemesh.Dial(context.Background(), os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	now := &present{}
	runs, goes := make(chan string), make(chan struct{}, 1)
	go now.readCommands(runs, goes)
	for command := range runs {
		end(now.execute(client, command, goes))
	}
}

func (p *present) readCommands(runs chan<- string, goes chan<- struct{}) {
	defer close(runs)
	defer close(goes)
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, longestLine)
	for lines.Scan() {
		words := strings.SplitN(lines.Text(), " ", 2)
		switch words[0] {
		case "run":
			runs <- words[1]
		case "go":
			goes <- struct{}{}
		case "cancel":
			p.mu.Lock()
			if err := p.run.Cancel(words[1]); err != nil {
				log.Print(err)
			}
			p.mu.Unlock()
		}
	}
}

func (p *present) execute(client *lanemesh.Client, command string, goes <-chan struct{}) error {
	words := strings.SplitN(command, " ", 2)
	hold, err := strconv.Atoi(words[0])
	if err != nil {
		return err
	}
	content, err := base64.StdEncoding.DecodeString(words[1])
	if err != nil {
		return err
	}
	request := &pb.StartRunRequest{}
	if err := proto.Unmarshal(content, request); err != nil {
		return err
	}
	var inputs []*lanemesh.Item
	for _, input := range request.GetInputs() {
		inputs = append(inputs, input.GetItem())
	}
	run, err := client.Run(context.Background(), lanemesh.JSON(request.GetSpec().GetPipelineJson()), lanemesh.WithInput(inputs...))
	if err != nil {
		return err
	}
	defer run.Close()
	p.mu.Lock()
	p.run = run
	p.mu.Unlock()
	fmt.Println("started", run.ID())
	for outputs := 0; ; {
		update, err := run.Next()
		if err == io.EOF {
			return run.Err()
		}
		if err != nil {
			return err
		}
		output := update.GetOutput()
		if output == nil {
			continue
		}
		fmt.Println("output", encoded(output.GetItem()))
		if outputs++; outputs == hold {
			fmt.Println("held")
			<-goes
		}
	}
}

// end prints how a run has ended.
func end(err error) {
	if err == nil {
		fmt.Println("end -")
		return
	}
	var fault *lanemesh.Error
	if !errors.As(err, &fault) {
		fault = &lanemesh.Error{Code: codes.Unknown, Message: err.Error()}
	}
	fmt.Println("end", encoded(fault.Proto()))
}

func encoded(message proto.Message) string {
	content, err := proto.Marshal(message)
	if err != nil {
		log.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(content)
}
