package meshtest

import (
	"context"
	"net"
	"strings"
	"testing"

	"google.golang.org/grpc"

	lanemesh "lanemesh/sdk/go"
	"lanemesh/sdk/go/examples/tools"
	pb "lanemesh/sdk/go/lanemeshv1"
)

// agent is a pipeline with an agent that makes one call of a tool of the server at an address, and then answers.
func agent(address, tool string, arguments object) lanemesh.Pipeline {
	control := func(kind string) []object { return []object{{"classType": kind, "from": "agent"}} }
	script := []interface{}{object{"tool_calls": []object{{"name": tool, "arguments": arguments}}}, "Done."}
	return lanemesh.Value(object{"components": []object{
		{"id": "chat", "provider": "chat"},
		{"id": "agent", "provider": "agent_wave", "input": []object{{"lane": "questions", "from": "chat"}}},
		{"id": "out", "provider": "response_answers", "input": []object{{"lane": "answers", "from": "agent"}}},
		{"id": "llm", "provider": "llm_scripted", "config": object{"script": script, "delay": 0}, "control": control("llm")},
		{"id": "tools", "provider": "tool_grpc", "config": object{"address": address}, "control": control("tool")},
	}})
}

func serveTools(t *testing.T) (string, <-chan string) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cancelled := make(chan string, 1)
	server := grpc.NewServer()
	pb.RegisterToolServiceServer(server, &tools.Server{Cancelled: cancelled})
	go server.Serve(listener)
	t.Cleanup(server.Stop)
	return listener.Addr().String(), cancelled
}

func call(t *testing.T, ctx context.Context, client *lanemesh.Client, pipeline lanemesh.Pipeline) []*pb.ToolUpdate {
	t.Helper()
	run, err := client.Run(ctx, pipeline, lanemesh.WithInput(lanemesh.Text("go")))
	if err != nil {
		t.Fatal(err)
	}
	defer run.Close()
	var updates []*pb.ToolUpdate
	for {
		update, err := run.Next()
		if err != nil {
			break
		}
		if update.GetTool() != nil {
			updates = append(updates, update.GetTool())
		}
	}
	if err := run.Err(); err != nil {
		t.Fatal(err)
	}
	return updates
}

func TestGoToolServerServesAnAgent(t *testing.T) {
	ctx, client := dial(t)
	address, _ := serveTools(t)
	var results, steps []string
	for _, update := range call(t, ctx, client, agent(address, "distance", object{"from": []float64{59.91, 10.75}, "to": []float64{38.72, -9.14}})) {
		if result := update.GetResult(); result != nil {
			results = append(results, result.GetContentJson())
		}
	}
	if len(results) != 1 || results[0] != `{"kilometres":2738}` {
		t.Errorf("got %v", results)
	}
	for _, update := range call(t, ctx, client, agent(address, "countdown", object{"steps": 2})) {
		if progress := update.GetProgress(); progress != nil {
			steps = append(steps, progress.GetMessage())
		}
	}
	if strings.Join(steps, ",") != "step 1,step 2" {
		t.Errorf("got %v", steps)
	}
}

func TestFailureOfAGoToolReachesTheAgent(t *testing.T) {
	ctx, client := dial(t)
	address, _ := serveTools(t)
	for _, update := range call(t, ctx, client, agent(address, "distance", object{"from": []float64{1, 2}, "to": "x"})) {
		if result := update.GetResult(); result != nil && (!result.GetIsError() || !strings.Contains(result.GetContentJson(), "error")) {
			t.Errorf("got %v", result)
		}
	}
}

func TestCancelledRunCancelsTheCallOfAGoTool(t *testing.T) {
	ctx, client := dial(t)
	address, cancelled := serveTools(t)
	run, err := client.Run(ctx, agent(address, "countdown", object{"steps": 10000}), lanemesh.WithInput(lanemesh.Text("go")))
	if err != nil {
		t.Fatal(err)
	}
	for {
		update, err := run.Next()
		if err != nil {
			t.Fatal(err)
		}
		if update.GetTool().GetProgress() != nil {
			break
		}
	}
	run.Close()
	select {
	case name := <-cancelled:
		if name != "countdown" {
			t.Errorf("got %s", name)
		}
	case <-ctx.Done():
		t.Fatal("the call was not cancelled")
	}
}
