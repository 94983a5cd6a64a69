package meshtest

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	lanemesh "lanemesh/sdk/go"
	pb "lanemesh/sdk/go/lanemeshv1"
	"lanemesh/sdk/go/node"
)

func TestChainPythonGoPython(t *testing.T) {
	ctx, client := dial(t)
	got := request(t, ctx, client, chain(of("py_numbers"), of("go_pass"), of("py_check")), "20000")
	if len(got) != 1 || got[0] != "20000" {
		t.Fatalf("got %v", got)
	}
}

func TestChainGoPythonGo(t *testing.T) {
	ctx, client := dial(t)
	got := request(t, ctx, client, chain(of("probe_numbers"), of("py_slow"), of("go_upper"), of("py_check")), "20")
	if len(got) != 1 || got[0] != "20" {
		t.Fatalf("got %v", got)
	}
}

func TestNodesOfOneServerAreJoinedWithoutACall(t *testing.T) {
	ctx, client := dial(t)
	got := request(t, ctx, client, chain(of("go_split"), of("go_upper"), of("go_pass")), "one two three")
	if strings.Join(got, " ") != "ONE TWO THREE" {
		t.Fatalf("got %v", got)
	}
}

func TestConfigReachesTheNode(t *testing.T) {
	ctx, client := dial(t)
	splitting := object{"provider": "go_split", "config": object{"separator": "-"}}
	got := request(t, ctx, client, chain(splitting), "a-b")
	if strings.Join(got, " ") != "a b" {
		t.Fatalf("got %v", got)
	}
	splitting["config"] = object{"separator": "-", "wrong": 1}
	_, err := client.Request(ctx, lanemesh.Value(chain(splitting)), lanemesh.Text("a-b"))
	var invalid *lanemesh.InvalidPipeline
	if !errors.As(err, &invalid) || !strings.Contains(fmt.Sprint(invalid.Faults), "wrong") {
		t.Fatalf("got %v", err)
	}
}

func TestFaultOfAGoNodeNamesItsComponent(t *testing.T) {
	ctx, client := dial(t)
	_, err := client.Request(ctx, lanemesh.Value(chain(of("py_slow"), of("conformance_fail"), of("py_slow"))), lanemesh.Text("fail"))
	var fault *lanemesh.Error
	if !errors.As(err, &fault) || fault.Reason != "node-error" || fault.Component() != "c2" || fault.Secondary || fault.Details["server"] != "go" {
		t.Fatalf("got %#v", err)
	}
}

func TestFaultOfAPythonNodePassesThroughGo(t *testing.T) {
	ctx, client := dial(t)
	_, err := client.Request(ctx, lanemesh.Value(chain(of("py_fail"), of("go_pass"))), lanemesh.Text("x"))
	var fault *lanemesh.Error
	if !errors.As(err, &fault) || fault.Reason != "node-error" || fault.Component() != "c1" || !strings.Contains(fault.Traceback, "py_fail") {
		t.Fatalf("got %#v", err)
	}
}

func TestPanicIsAFaultWithoutSecrets(t *testing.T) {
	ctx, client := dial(t)
	panicking := object{"provider": "probe_panic", "config": object{"token": "s3cret-value"}}
	_, err := client.Request(ctx, lanemesh.Value(chain(panicking)), lanemesh.Text("x"))
	var fault *lanemesh.Error
	if !errors.As(err, &fault) || fault.Message != "panic: the token is ***" || !strings.Contains(fault.Traceback, "probes_test.go") {
		t.Fatalf("got %v", err)
	}
}

func TestFiringsAreRetriedAndSkipped(t *testing.T) {
	ctx, client := dial(t)
	flaky := object{"provider": "probe_flaky", "on_error": object{"retry": object{"attempts": 2, "backoff": 0}}}
	if got := request(t, ctx, client, chain(of("go_split"), flaky), "a b"); strings.Join(got, " ") != "a b" {
		t.Fatalf("got %v", got)
	}
	flaky["on_error"] = "skip"
	if got := request(t, ctx, client, chain(of("go_split"), flaky), "a b c d"); strings.Join(got, " ") != "b d" {
		t.Fatalf("got %v", got)
	}
}

func TestZipAllPairsInLockstep(t *testing.T) {
	ctx, client := dial(t)
	document := object{"components": []object{
		{"id": "chat", "provider": "chat"},
		{"id": "a", "provider": "go_split", "input": []object{{"lane": "text", "from": "chat"}}},
		{"id": "b", "provider": "go_upper", "input": []object{{"lane": "text", "from": "a"}}},
		{"id": "pair", "provider": "probe_pair", "sync_mode": "zip_all", "input": []object{
			{"lane": "text", "from": "a", "input": "a"}, {"lane": "text", "from": "b", "input": "b"}}},
		{"id": "out", "provider": "response", "config": object{"lane": "text"}, "input": []object{{"lane": "text", "from": "pair"}}},
	}}
	if got := request(t, ctx, client, document, "x y"); strings.Join(got, " ") != "x+X y+Y" {
		t.Fatalf("got %v", got)
	}
}

func TestGroupsPassBetweenGoAndPython(t *testing.T) {
	ctx, client := dial(t)
	for _, providers := range [][]string{
		{"conformance_pieces", "py_whole"}, {"py_pieces", "conformance_whole"}, {"conformance_pieces", "go_upper", "py_whole"},
		{"py_pieces", "go_upper", "conformance_whole"},
	} {
		var components []object
		for _, provider := range providers {
			components = append(components, of(provider))
		}
		got := request(t, ctx, client, chain(components...), "abc")
		if len(got) != 1 || strings.ToLower(strings.Trim(got[0], "[]")) != "abc" {
			t.Errorf("%v: got %v", providers, got)
		}
	}
}

func TestMediaPassInChunks(t *testing.T) {
	ctx, client := dial(t)
	picture := object{"provider": "py_picture", "lane": "image"}
	passing := object{"provider": "probe_picture", "lane": "image"}
	content := make([]byte, 3<<20+7)
	for i := range content {
		content[i] = byte(i % 251)
	}
	want := fmt.Sprintf("3 %x", sha256.Sum256(content))
	if got := request(t, ctx, client, chain(picture, passing, of("py_digest")), "x"); len(got) != 1 || got[0] != want {
		t.Fatalf("got %v, want %s", got, want)
	}
	result, err := client.Request(ctx, lanemesh.Value(chain(picture, passing)), lanemesh.Text("x"))
	if err != nil || string(lanemesh.MediaOf(result.Outputs[0].Item).GetContent()) != string(content) {
		t.Fatalf("the client got another picture: %v", err)
	}
}

func TestBackpressureHoldsAProducerAtTheLimit(t *testing.T) {
	ctx, client := dial(t)
	for _, between := range []object{of("py_slow"), of("go_pass")} {
		between["edge"] = object{"buffer_limit": 10}
		taking := object{"provider": "probe_take", "edge": object{"buffer_limit": 10}}
		if between["provider"] == "py_slow" {
			between["config"] = object{"seconds": 0}
		}
		result, err := client.Request(ctx, lanemesh.Value(chain(of("probe_numbers"), between, taking)), lanemesh.Text("3000"))
		if err != nil || result.Text() != "3000" {
			t.Fatalf("got %v, %v", result, err)
		}
		// 10 of each lane, and what both nodes hold.
		if most := probes.of(result.RunID).most; most > 24 {
			t.Errorf("%s: %d items were emitted and not taken", between["provider"], most)
		}
	}
}

func TestClientThatReadsNothingHoldsTheRun(t *testing.T) {
	ctx, client := dial(t)
	run, err := client.Run(ctx, lanemesh.Value(chain(of("probe_numbers"))), lanemesh.WithInput(lanemesh.Text("1000000")))
	if err != nil {
		t.Fatal(err)
	}
	p := probes.of(run.ID())
	await(t, ctx, p.blocked, "the source to wait")
	run.Close()
	await(t, ctx, p.cancelled, "the node to be cancelled")
	if p.emitted > 20_000 {
		t.Errorf("%d items were emitted although none was read", p.emitted)
	}
}

func TestCancelReachesTheNode(t *testing.T) {
	ctx, client := dial(t)
	run, err := client.Run(ctx, lanemesh.Value(chain(of("py_slow"), of("probe_wait"), of("py_slow"))), lanemesh.WithInput(lanemesh.Text("x")))
	if err != nil {
		t.Fatal(err)
	}
	p := probes.of(run.ID())
	await(t, ctx, p.blocked, "the node to begin")
	if err := run.Cancel("enough"); err != nil {
		t.Fatal(err)
	}
	await(t, ctx, p.cancelled, "the node to be cancelled")
	for range run.Outputs() {
	}
	var fault *lanemesh.Error
	if !errors.As(run.Err(), &fault) || fault.Code != codes.Canceled || !strings.Contains(fault.Message, "enough") {
		t.Fatalf("got %v", run.Err())
	}
}

func TestTimeoutOfAComponentEndsItsNode(t *testing.T) {
	ctx, client := dial(t)
	_, err := client.Request(ctx, lanemesh.Value(chain(object{"provider": "probe_wait", "timeout": 0.2})), lanemesh.Text("x"))
	var fault *lanemesh.Error
	if !errors.As(err, &fault) || fault.Reason != "timeout" || fault.Component() != "c1" {
		t.Fatalf("got %v", err)
	}
}

func TestServerDrains(t *testing.T) {
	ctx, client := dial(t)
	only := &node.Type{
		Provider: "draining_echo", Description: "Sends texts on.", Inputs: []node.Input{{Name: "text", Type: pb.LaneType_LANE_TYPE_TEXT}},
		Outputs: []node.Output{{Name: "out", Type: pb.LaneType_LANE_TYPE_TEXT}},
		Call:    func(ctx context.Context, in *node.In) error { return in.EmitText("out", in.Text("text")) },
	}
	server, err := node.NewServer(node.Options{Name: "draining", Orchestrator: orchestrator}, only)
	if err != nil {
		t.Fatal(err)
	}
	serving, stop := context.WithCancel(ctx)
	served := make(chan error, 1)
	go func() { served <- server.Serve(serving) }()
	if err := server.WaitJoined(ctx); err != nil {
		t.Fatal(err)
	}
	run, err := client.Run(ctx, lanemesh.Value(chain(of("draining_echo"))), lanemesh.WithOpenInput())
	if err != nil {
		t.Fatal(err)
	}
	for { // a run that is placed later would wait for another server
		update, err := run.Next()
		if err != nil {
			t.Fatal(err)
		}
		if update.GetJob().GetState() == pb.RunState_RUN_STATE_RUNNING {
			break
		}
	}
	outputs := run.Outputs()
	if got := health(t, ctx, server.Address()); got != healthpb.HealthCheckResponse_SERVING {
		t.Errorf("the server is %s", got)
	}
	drained := make(chan error, 1)
	go func() { drained <- server.Drain(ctx) }()
	if err := run.Push(lanemesh.Text("still here")); err != nil {
		t.Fatal(err)
	}
	if output := <-outputs; lanemesh.TextOf(output.Item) != "still here" {
		t.Fatalf("got %v", output)
	}
	if err := run.EndInput(); err != nil {
		t.Fatal(err)
	}
	for range outputs {
	}
	if err := run.Err(); err != nil {
		t.Fatal(err)
	}
	if err := <-drained; err != nil {
		t.Fatal(err)
	}
	if got := health(t, ctx, server.Address()); got != healthpb.HealthCheckResponse_NOT_SERVING {
		t.Errorf("a draining server is %s", got)
	}
	stop()
	if err := <-served; err != nil {
		t.Fatal(err)
	}
}

func health(t *testing.T, ctx context.Context, address string) healthpb.HealthCheckResponse_ServingStatus {
	t.Helper()
	conn, err := grpc.DialContext(ctx, address, grpc.WithInsecure())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	response, err := healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	return response.GetStatus()
}

func await(t *testing.T, ctx context.Context, event <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-event:
	case <-ctx.Done():
		t.Fatalf("waited in vain for %s", what)
	}
}
