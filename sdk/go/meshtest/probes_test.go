package meshtest

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	lanemesh "lanemesh/sdk/go"
	pb "lanemesh/sdk/go/lanemeshv1"
	"lanemesh/sdk/go/node"
)

const stillBlocked = 300 * time.Millisecond // an Emit that takes so long waits for capacity

// probeSet has node types that the tests look into, by the id of the run.
type probeSet struct {
	mu   sync.Mutex
	seen map[string]*probe
}

// probe is what the nodes of one run have done.
type probe struct {
	emitted   int64
	taken     int64
	most      int64         // most items that were emitted and not taken
	blocked   chan struct{} // closed when an Emit has waited
	cancelled chan struct{} // closed when a context has ended
	once      sync.Once
	end       sync.Once
}

func newProbes() *probeSet { return &probeSet{seen: map[string]*probe{}} }

func (s *probeSet) of(runID string) *probe {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seen[runID] == nil {
		s.seen[runID] = &probe{blocked: make(chan struct{}), cancelled: make(chan struct{})}
	}
	return s.seen[runID]
}

func (s *probeSet) types() []*node.Type {
	text, image := pb.LaneType_LANE_TYPE_TEXT, pb.LaneType_LANE_TYPE_IMAGE
	oneText := []node.Input{{Name: "text", Type: text}}
	return []*node.Type{
		{
			Provider: "probe_numbers", Description: "Sends as many numbers as its first text says, and counts them.", Kind: node.Run,
			Inputs: oneText, Outputs: []node.Output{{Name: "number", Type: text}}, Call: s.numbers,
		},
		{
			Provider: "probe_take", Description: "Takes texts, compares their number with that of probe_numbers, and sends how many there were.",
			Kind: node.Run, Inputs: oneText, Outputs: []node.Output{{Name: "count", Type: text}}, Call: s.take,
		},
		{
			Provider: "probe_wait", Description: "Waits until it is cancelled.", Inputs: oneText, Outputs: []node.Output{{Name: "out", Type: text}},
			Call: func(ctx context.Context, in *node.In) error {
				p := s.of(in.RunID())
				p.once.Do(func() { close(p.blocked) })
				<-ctx.Done()
				p.end.Do(func() { close(p.cancelled) })
				return ctx.Err()
			},
		},
		{
			Provider: "probe_panic", Description: "Panics with the secret of its config.", Inputs: oneText,
			Outputs:      []node.Output{{Name: "out", Type: text}},
			ConfigSchema: `{"type":"object","properties":{"token":{"type":"string","format":"password","writeOnly":true}}}`,
			Call: func(ctx context.Context, in *node.In) error {
				var config struct{ Token string }
				if err := in.Config(&config); err != nil {
					return err
				}
				panic("the token is " + config.Token)
			},
		},
		{
			Provider: "probe_flaky", Description: "Fails at every text once, with on_error retry; twice at the text hard.", Inputs: oneText,
			Outputs: []node.Output{{Name: "out", Type: text}},
			Call: func(ctx context.Context, in *node.In) error {
				if atomic.AddInt64(&s.of(in.RunID()).taken, 1)%2 == 1 || in.Text("text") == "hard" {
					return fmt.Errorf("probe_flaky fails at %q", in.Text("text"))
				}
				return in.EmitText("out", in.Text("text"))
			},
		},
		{
			Provider: "probe_picture", Description: "Passes pictures on.", Inputs: []node.Input{{Name: "image", Type: image}},
			Outputs: []node.Output{{Name: "image", Type: image}},
			Call:    func(ctx context.Context, in *node.In) error { return in.Emit("image", in.Item("image")) },
		},
		{
			Provider: "probe_pair", Description: "Pairs two inputs.", Inputs: []node.Input{{Name: "a", Type: text}, {Name: "b", Type: text}},
			Outputs: []node.Output{{Name: "out", Type: text}},
			Call: func(ctx context.Context, in *node.In) error {
				return in.EmitText("out", in.Text("a")+"+"+in.Text("b"))
			},
		},
	}
}

func (s *probeSet) numbers(ctx context.Context, in *node.In) error {
	p := s.of(in.RunID())
	item, err := in.Next("text")
	if err != nil {
		return err
	}
	count, err := strconv.Atoi(item.GetText())
	if err != nil {
		return err
	}
	defer func() {
		if ctx.Err() != nil {
			p.end.Do(func() { close(p.cancelled) })
		}
	}()
	for number := 0; number < count; number++ {
		timer := time.AfterFunc(stillBlocked, func() { p.once.Do(func() { close(p.blocked) }) })
		err := in.EmitText("number", strconv.Itoa(number))
		timer.Stop()
		if err != nil {
			return err
		}
		atomic.AddInt64(&p.emitted, 1)
	}
	return nil
}

func (s *probeSet) take(ctx context.Context, in *node.In) error {
	p := s.of(in.RunID())
	for {
		_, err := in.Next("text")
		if err == io.EOF {
			return in.Emit("count", lanemesh.Text(strconv.FormatInt(p.taken, 10)))
		}
		if err != nil {
			return err
		}
		p.taken++
		if waiting := atomic.LoadInt64(&p.emitted) - p.taken; waiting > p.most {
			p.most = waiting
		}
	}
}
