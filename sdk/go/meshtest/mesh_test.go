// Package meshtest tests the client and the node server against a mesh in Python: an orchestrator and node servers as child processes.
// LANEMESH names the command, such as .venv/bin/lanemesh of the repository, and LANEMESH_NODES the file tests/matrix/nodes.py.
package meshtest

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	lanemesh "lanemesh/sdk/go"
	"lanemesh/sdk/go/conformance"
	"lanemesh/sdk/go/examples/words"
	"lanemesh/sdk/go/node"
)

const (
	patience      = 60 * time.Second // of each test
	startPatience = 2 * time.Minute  // for a process to start on a machine that has much to do
)

var (
	orchestrator string
	probes       = newProbes()
)

func TestMain(m *testing.M) { os.Exit(withMesh(m)) }

func withMesh(m *testing.M) int {
	serve, err := start("listening, reached at ", "serve", "--port", "0", "--store", "none")
	if err != nil {
		log.Print(err)
		return 1
	}
	defer serve.stop()
	orchestrator = serve.found
	types := append(append(append([]*node.Type{}, words.Types...), conformance.Types...), probes.types()...)
	server, err := node.NewServer(node.Options{Name: "go", Orchestrator: orchestrator}, types...)
	if err != nil {
		log.Print(err)
		return 1
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx) }()
	defer func() {
		cancel()
		if err := <-served; err != nil {
			log.Print(err)
		}
	}()
	python, err := start("joined", "--log-level", "info", "node", "agent", "llm", "tools", "--allow", "hosts",
		"--nodes", os.Getenv("LANEMESH_NODES"), "--orchestrator", orchestrator)
	if err != nil {
		log.Print(err)
		return 1
	}
	defer python.stop()
	joining, done := context.WithTimeout(ctx, startPatience)
	defer done()
	if err := server.WaitJoined(joining); err != nil {
		log.Print(err)
		return 1
	}
	return m.Run()
}

// child is a process that ends with the test.
type child struct {
	command *exec.Cmd
	found   string // what followed the awaited text in its line
	output  *strings.Builder
	read    chan struct{}
}

// start starts the lanemesh command, and waits until it prints a line with a text.
func start(text string, arguments ...string) (*child, error) {
	path := os.Getenv("LANEMESH")
	if path == "" {
		return nil, fmt.Errorf("set LANEMESH to the path of the command lanemesh, such as .venv/bin/lanemesh")
	}
	command := exec.Command(path, arguments...)
	command.Env = append(os.Environ(), "NO_COLOR=1", "COLUMNS=200")
	reader, writer := io.Pipe()
	command.Stdout, command.Stderr = writer, writer
	if err := command.Start(); err != nil {
		return nil, err
	}
	c := &child{command: command, output: &strings.Builder{}, read: make(chan struct{})}
	found := make(chan string, 1)
	go func() {
		defer close(c.read)
		lines := bufio.NewScanner(reader)
		for lines.Scan() {
			line := lines.Text()
			fmt.Fprintln(c.output, line)
			if at := strings.Index(line, text); at >= 0 {
				select {
				case found <- strings.TrimSpace(line[at+len(text):]):
				default:
				}
			}
		}
	}()
	go func() {
		_ = command.Wait()
		writer.Close()
	}()
	select {
	case c.found = <-found:
		return c, nil
	case <-c.read:
		return nil, fmt.Errorf("lanemesh %s ended: %s", arguments, c.output)
	case <-time.After(startPatience):
		c.stop()
		return nil, fmt.Errorf("lanemesh %s did not print %q: %s", arguments, text, c.output)
	}
}

func (c *child) stop() {
	_ = c.command.Process.Signal(os.Interrupt)
	select {
	case <-c.read:
	case <-time.After(15 * time.Second):
		_ = c.command.Process.Kill()
		<-c.read
	}
}

// dial connects to the mesh.
func dial(t *testing.T) (context.Context, *lanemesh.Client) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	client, err := lanemesh.Dial(ctx, orchestrator)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		client.Close()
		cancel()
	})
	return ctx, client
}

type object = map[string]interface{}

// chain is a pipeline: chat, then components with these providers one after the other, then a response. Of a component, "edge" has more
// fields of its edge, and "lane" the type of what it sends, by default text. Their ids are c1, c2 and so on.
func chain(components ...object) object {
	all := []object{{"id": "chat", "provider": "chat"}}
	from, lane := "chat", "text"
	for i, component := range components {
		made := object{"id": fmt.Sprintf("c%d", i+1)}
		edge := object{"lane": lane, "from": from}
		lane = "text"
		for key, value := range component {
			switch key {
			case "edge":
				for name, setting := range value.(object) {
					edge[name] = setting
				}
			case "lane":
				lane = value.(string)
			default:
				made[key] = value
			}
		}
		made["input"] = []object{edge}
		all = append(all, made)
		from = made["id"].(string)
	}
	all = append(all, object{"id": "out", "provider": "response", "config": object{"lane": lane}, "input": []object{{"lane": lane, "from": from}}})
	return object{"components": all, "source": "chat"}
}

func of(provider string) object { return object{"provider": provider} }

// request sends a text to a pipeline and returns the texts that it delivers.
func request(t *testing.T, ctx context.Context, client *lanemesh.Client, document object, text string) []string {
	t.Helper()
	result, err := client.Request(ctx, lanemesh.Value(document), lanemesh.Text(text))
	if err != nil {
		t.Fatalf("%s: %s", document, err)
	}
	var texts []string
	for _, output := range result.Outputs {
		texts = append(texts, lanemesh.TextOf(output.Item))
	}
	return texts
}
