package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	lanemesh "lanemesh/sdk/go"
	pb "lanemesh/sdk/go/lanemeshv1"
)

// ErrStopped is the error of Emit when no consumer of the output takes items any more, or there is none. A node that has nothing else to
// do returns it, or nil.
var ErrStopped = errors.New("no consumer takes items of this output any more")

const maxItemBytes = lanemesh.MaxMessageBytes - 64<<10

// In is what one call of a node has: its inputs, its outputs, its config, and the log of its component. Goroutines of the node may share
// it until the call returns.
type In struct {
	a      *actor
	ctx    context.Context
	firing *firing // nil in a Run node
}

// RunID is the id of the run.
func (in *In) RunID() string { return in.a.run.place.GetRunId() }

// Component is the id of the component.
func (in *In) Component() string { return in.a.instance.GetComponent() }

// Config stores the config of the component in a value, as encoding/json does.
func (in *In) Config(value interface{}) error {
	text := in.a.instance.GetConfigJson()
	if text == "" {
		text = "{}"
	}
	return json.Unmarshal([]byte(text), value)
}

// Item returns the latest item of an input, in a Process or Generate node; nil if it has had none. Items are shared: do not change them.
func (in *In) Item(input string) *lanemesh.Item {
	if in.firing == nil {
		return nil
	}
	return in.firing.latest[input]
}

// Text returns the text of the latest item of an input; see lanemesh.TextOf.
func (in *In) Text(input string) string { return lanemesh.TextOf(in.Item(input)) }

// Next takes the next item of an input, in a Run node. It waits until there is one. It returns io.EOF when the input has ended, the fault
// of a producer that failed, or the error of the context.
func (in *In) Next(input string) (*lanemesh.Item, error) {
	_, item, err := in.next([]string{input})
	return item, err
}

// NextAny takes the next item of any of these inputs, in the order of arrival; of all inputs if none is named. It returns io.EOF when all
// of them have ended.
func (in *In) NextAny(inputs ...string) (input string, item *lanemesh.Item, err error) {
	if len(inputs) == 0 {
		inputs = in.a.order
	}
	return in.next(inputs)
}

// Items returns a channel with the items of an input, in a Run node. It is closed when the input has ended or failed; the error of a
// failure also fails the node.
func (in *In) Items(input string) <-chan *lanemesh.Item {
	items := make(chan *lanemesh.Item)
	go func() {
		defer close(items)
		for {
			item, err := in.Next(input)
			if err != nil {
				in.a.noteFailure(err)
				return
			}
			select {
			case items <- item:
			case <-in.ctx.Done():
				return
			}
		}
	}()
	return items
}

func (in *In) next(names []string) (string, *lanemesh.Item, error) {
	a := in.a
	a.run.mu.Lock()
	defer a.run.mu.Unlock()
	if in.firing != nil {
		return "", nil, a.misuse("bad-node", "takes items itself, but is no Run node: use Item")
	}
	for {
		var first *port
		ended := true
		for _, name := range names {
			p := a.ports[name]
			if p == nil {
				return "", nil, a.misuse("unknown-port", fmt.Sprintf("has no input %q", name))
			}
			if p.waiting() > 0 && (first == nil || p.entries[p.head].number < first.entries[first.head].number) {
				first = p
			}
			ended = ended && p.ended()
		}
		if first != nil {
			item := first.take()
			if item.GetPayload() == nil {
				continue // the end of a group
			}
			return first.name, item, nil
		}
		for _, name := range names {
			if fault := a.ports[name].broken(); fault != nil {
				return "", nil, fault
			}
		}
		if err := in.interrupted(); err != nil {
			return "", nil, err
		}
		if ended {
			return "", nil, io.EOF
		}
		a.wait(&pb.ActorWait{AnyInputs: names})
	}
}

// StopInput takes no more items of an input. Its producers are notified.
func (in *In) StopInput(input string) {
	a := in.a
	a.run.mu.Lock()
	defer a.run.mu.Unlock()
	if p := a.ports[input]; p != nil {
		for _, e := range p.edges {
			e.stop(fmt.Sprintf("%s needs no more items", a.instance.GetComponent()), nil)
		}
	}
}

// Emit sends an item by an output, to each of its consumers, and waits until all of them have capacity for it. Do not change the item
// afterwards. It returns ErrStopped when no consumer takes items any more, the fault of a consumer that failed, or the error of the
// context.
func (in *In) Emit(output string, item *lanemesh.Item) error {
	a := in.a
	a.run.mu.Lock()
	defer a.run.mu.Unlock()
	out := a.outputs[output]
	if out == nil || out.ended {
		return a.misuse("unknown-port", fmt.Sprintf("has no open output %q", output))
	}
	if kind := lanemesh.TypeOf(item); kind != out.laneType {
		return a.misuse("wrong-type", fmt.Sprintf("emitted an item of type %s by the output %q of type %s", kind, output, out.laneType))
	}
	if in.firing != nil {
		if a.typ.Kind == Process && in.firing.sent[output] {
			return a.misuse("bad-result", fmt.Sprintf("emitted a second item by the output %q; make it a Generate node", output))
		}
		item = a.grouped(in.firing, out, item)
	}
	return in.send(out, item)
}

// EmitText sends a text.
func (in *In) EmitText(output, text string) error { return in.Emit(output, lanemesh.Text(text)) }

// send offers an item to every lane of an output, until each has taken it.
func (in *In) send(out *output, item *pb.Item) error {
	size := sizeOf(item)
	if media := lanemesh.MediaOf(item); len(media.GetContent()) > maxMediaBytes || size-len(media.GetContent()) > maxItemBytes {
		return in.a.misuse("wrong-value", fmt.Sprintf("emitted an item of %d bytes by the output %q; a message has 16 MiB, media 256 MiB. Send it in pieces",
			size, out.name))
	}
	pending := out.lanes
	for {
		var waiting []lane
		var full []string
		alive := false
		for _, l := range out.lanes {
			alive = alive || !l.stopped()
		}
		for _, l := range pending {
			switch {
			case l.broken() != nil:
				return l.broken().AsSecondary()
			case l.stopped():
			case !l.offer(item, size):
				waiting, full = append(waiting, l), append(full, l.id())
			}
		}
		if err := in.interrupted(); err != nil {
			return err
		}
		if !alive {
			return ErrStopped
		}
		if len(waiting) == 0 {
			if in.firing != nil {
				in.firing.emitted = true
				in.firing.sent[out.name] = true
			}
			return nil
		}
		pending = waiting
		in.a.wait(&pb.ActorWait{FullEdges: full})
	}
}

// interrupted returns why the call cannot continue; nil if it can.
func (in *In) interrupted() error {
	if in.a.downClosed && !in.a.typ.RunsToEnd {
		return ErrStopped
	}
	return in.ctx.Err()
}

// Complete ends an output: its consumers get the end. Further items cannot be emitted by it.
func (in *In) Complete(output string) {
	in.a.run.mu.Lock()
	defer in.a.run.mu.Unlock()
	if out := in.a.outputs[output]; out != nil {
		in.a.endOutput(out, nil)
	}
}

// Outside notes that the node waits for something outside the run, described in words, until the returned function is called. Otherwise
// such a wait may look like a part of a deadlock.
func (in *In) Outside(what string) (end func()) {
	in.a.run.mu.Lock()
	defer in.a.run.mu.Unlock()
	in.a.outside = append(in.a.outside, what)
	return func() {
		in.a.run.mu.Lock()
		defer in.a.run.mu.Unlock()
		for i, waiting := range in.a.outside {
			if waiting == what {
				in.a.outside = append(in.a.outside[:i], in.a.outside[i+1:]...)
				return
			}
		}
	}
}

// Log reports a line. The node never waits for it: lines for which there is no capacity are dropped.
func (in *In) Log(level pb.LogLevel, format string, arguments ...interface{}) {
	in.a.run.tryUpdate(&pb.Update{Kind: &pb.Update_Log{Log: &pb.LogUpdate{
		Component: in.Component(), Level: level, Message: in.a.run.secrets.hide(fmt.Sprintf(format, arguments...))}}})
}

// Progress reports how much is done, of a total (0 if it is unknown), and what is going on.
func (in *In) Progress(done, total float64, message string) {
	in.a.run.tryUpdate(&pb.Update{Kind: &pb.Update_Progress{Progress: &pb.ProgressUpdate{
		Component: in.Component(), Done: done, Total: total, Message: in.a.run.secrets.hide(message)}}})
}

func (a *actor) misuse(reason, what string) *lanemesh.Error {
	component := a.instance.GetComponent()
	return &lanemesh.Error{Code: codes.InvalidArgument, Reason: reason, Message: fmt.Sprintf("%s (%s) %s", component, a.typ.Provider, what),
		Details: map[string]string{"component": component, "provider": a.typ.Provider}}
}

func stamped(update *pb.Update) *pb.Update {
	update.Time = timestamppb.Now()
	return update
}
