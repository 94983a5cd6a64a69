package meshtest

import (
	"errors"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc/codes"

	lanemesh "lanemesh/sdk/go"
	pb "lanemesh/sdk/go/lanemeshv1"
)

func TestUpdatesBeyondTheWindowAreAcknowledged(t *testing.T) {
	ctx, client := dial(t)
	run, err := client.Run(ctx, lanemesh.Value(chain(of("probe_numbers"))), lanemesh.WithInput(lanemesh.Text("3000")))
	if err != nil {
		t.Fatal(err)
	}
	defer run.Close()
	next, sequence := 0, uint64(0)
	for {
		update, err := run.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if sequence++; update.GetSequence() != sequence {
			t.Fatalf("update %d came instead of %d", update.GetSequence(), sequence)
		}
		if output := update.GetOutput(); output != nil {
			if lanemesh.TextOf(output.GetItem()) != strconv.Itoa(next) {
				t.Fatalf("%v came instead of %d", output, next)
			}
			next++
		}
	}
	if next != 3000 || run.Err() != nil {
		t.Fatalf("%d outputs, %v", next, run.Err())
	}
}

func TestManyInputsTravelOnTheCall(t *testing.T) {
	ctx, client := dial(t)
	var inputs []*lanemesh.Item
	for i := 0; i < 300; i++ {
		inputs = append(inputs, lanemesh.Text(strconv.Itoa(i)))
	}
	run, err := client.Run(ctx, lanemesh.Value(chain(of("py_check"))), lanemesh.WithInput(inputs...))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for output := range run.Outputs() {
		got = append(got, lanemesh.TextOf(output.Item))
	}
	if run.Err() != nil || strings.Join(got, " ") != "300" {
		t.Fatalf("got %v, %v", got, run.Err())
	}
}

func TestQuestionsAndAnswers(t *testing.T) {
	ctx, client := dial(t)
	document := object{"components": []object{
		{"id": "chat", "provider": "chat"},
		{"id": "llm", "provider": "llm_scripted", "config": object{"script": []string{"Forty-two."}, "delay": 0},
			"input": []object{{"lane": "questions", "from": "chat"}}},
		{"id": "out", "provider": "response", "config": object{"lane": "answers"}, "input": []object{{"lane": "answers", "from": "llm"}}},
	}}
	result, err := client.Request(ctx, lanemesh.Value(document), lanemesh.Question(&pb.Question{Text: "What?"}))
	if err != nil || result.Text() != "Forty-two." {
		t.Fatalf("got %v, %v", result, err)
	}
}

func TestInvalidPipelineHasItsFaults(t *testing.T) {
	ctx, client := dial(t)
	_, err := client.Run(ctx, lanemesh.Value(chain(of("no_such_node"))))
	var invalid *lanemesh.InvalidPipeline
	if !errors.As(err, &invalid) || len(invalid.Faults) == 0 || invalid.Faults[0].GetPointer() != "/components/1/provider" {
		t.Fatalf("got %v", err)
	}
	faults, err := client.Validate(ctx, lanemesh.Value(chain(of("go_pass"))))
	if err != nil || len(faults) != 0 {
		t.Fatalf("got %v, %v", faults, err)
	}
}

func TestRefusedPushFailsAloneAndTheRunGoesOn(t *testing.T) {
	ctx, client := dial(t)
	run, err := client.Run(ctx, lanemesh.Value(chain(of("go_upper"))), lanemesh.WithOpenInput())
	if err != nil {
		t.Fatal(err)
	}
	defer run.Close()
	var fault *lanemesh.Error
	if err := run.Push(lanemesh.Image(&pb.Media{MimeType: "image/png", Content: []byte("x")})); !errors.As(err, &fault) || fault.Reason == "" {
		t.Fatalf("got %v", err)
	}
	if err := run.Push(lanemesh.Text("ok")); err != nil {
		t.Fatal(err)
	}
	if err := run.EndInput(); err != nil {
		t.Fatal(err)
	}
	var got []string
	for output := range run.Outputs() {
		got = append(got, lanemesh.TextOf(output.Item))
	}
	if strings.Join(got, " ") != "OK" || run.Err() != nil {
		t.Fatalf("got %v, %v", got, run.Err())
	}
}

func TestDetachedRunIsFedAndWatchedFromAnyUpdate(t *testing.T) {
	ctx, client := dial(t)
	run, err := client.StartRun(ctx, lanemesh.Value(chain(of("go_upper"))), lanemesh.WithInput(lanemesh.Text("a")), lanemesh.WithOpenInput())
	if err != nil {
		t.Fatal(err)
	}
	if err := run.Push(ctx, lanemesh.Text("b")); err != nil {
		t.Fatal(err)
	}
	if err := run.EndInput(ctx); err != nil {
		t.Fatal(err)
	}
	if err := run.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	record, err := client.GetRun(ctx, run.ID())
	if err != nil || record.GetState() != pb.RunState_RUN_STATE_COMPLETED || record.GetOutputCount() != 2 {
		t.Fatalf("got %v, %v", record, err)
	}
	watch := client.Detached(run.ID()).Watch(ctx, record.GetLastSequence())
	update, err := watch.Next()
	if err != nil || update.GetSequence() != record.GetLastSequence() || update.GetJob().GetState() != pb.RunState_RUN_STATE_COMPLETED {
		t.Fatalf("got %v, %v", update, err)
	}
	if _, err := watch.Next(); err != io.EOF || watch.Err() != nil {
		t.Fatalf("got %v, %v", err, watch.Err())
	}
}

func TestUnknownRunIsAnError(t *testing.T) {
	ctx, client := dial(t)
	var fault *lanemesh.Error
	if err := client.Detached("no-such-run").Wait(ctx); !errors.As(err, &fault) || fault.Code != codes.NotFound {
		t.Fatalf("got %v", err)
	}
}

func TestWatchGoesOnAfterABrokenConnection(t *testing.T) {
	ctx, direct := dial(t)
	proxy := newProxy(t)
	client, err := lanemesh.Dial(ctx, proxy.address())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	run, err := direct.StartRun(ctx, lanemesh.Value(chain(of("go_upper"))), lanemesh.WithOpenInput())
	if err != nil {
		t.Fatal(err)
	}
	watch := client.Detached(run.ID()).Watch(ctx, 1)
	defer watch.Close()
	sequence, outputs := uint64(0), 0
	for pushed := 0; ; {
		if pushed < 3 && outputs == pushed {
			if err := run.Push(ctx, lanemesh.Text("x")); err != nil {
				t.Fatal(err)
			}
			if pushed++; pushed == 3 {
				if err := run.EndInput(ctx); err != nil {
					t.Fatal(err)
				}
			}
		}
		update, err := watch.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if sequence++; update.GetSequence() != sequence {
			t.Fatalf("update %d came instead of %d", update.GetSequence(), sequence)
		}
		if update.GetOutput() != nil {
			outputs++
			proxy.cut()
		}
	}
	if outputs != 3 || proxy.cuts < 3 {
		t.Fatalf("%d outputs, %d cuts", outputs, proxy.cuts)
	}
}

func TestDeployedPipelineServesRequests(t *testing.T) {
	ctx, client := dial(t)
	deployment, err := client.Deploy(ctx, "go-shout", lanemesh.Value(chain(of("go_upper"))))
	if err != nil || deployment.GetVersion() == 0 {
		t.Fatalf("got %v, %v", deployment, err)
	}
	result, err := client.Request(ctx, lanemesh.Deployed("@go-shout"), lanemesh.Text("hey"))
	if err != nil || result.Text() != "HEY" {
		t.Fatalf("got %v, %v", result, err)
	}
	deployments, err := client.Deployments(ctx)
	if err != nil || len(deployments) != 1 || deployments[0].GetName() != "go-shout" {
		t.Fatalf("got %v, %v", deployments, err)
	}
	if err := client.Undeploy(ctx, "go-shout"); err != nil {
		t.Fatal(err)
	}
	var fault *lanemesh.Error
	if _, err := client.Request(ctx, lanemesh.Deployed("go-shout"), lanemesh.Text("hey")); !errors.As(err, &fault) || fault.Code != codes.NotFound {
		t.Fatalf("got %v", err)
	}
}

// proxy passes connections on to the orchestrator, and can cut them.
type proxy struct {
	listener net.Listener
	mu       sync.Mutex
	open     []net.Conn
	cuts     int
}

func newProxy(t *testing.T) *proxy {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: listener}
	t.Cleanup(func() {
		listener.Close()
		p.cut()
	})
	go func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", orchestrator)
			if err != nil {
				near.Close()
				continue
			}
			p.mu.Lock()
			p.open = append(p.open, near, far)
			p.mu.Unlock()
			go pipe(near, far)
			go pipe(far, near)
		}
	}()
	return p
}

func pipe(to, from net.Conn) {
	_, _ = io.Copy(to, from)
	to.Close()
	from.Close()
}

func (p *proxy) address() string { return p.listener.Addr().String() }

func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, connection := range p.open {
		connection.Close()
	}
	if len(p.open) > 0 {
		p.cuts++
	}
	p.open = nil
}
