package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"

	lanemesh "lanemesh/sdk/go"
	pb "lanemesh/sdk/go/lanemeshv1"
)

const (
	overdueGrace = 5 * time.Second        // for a body to end after its time limit
	blockedAfter = 200 * time.Millisecond // of waiting for capacity the orchestrator is notified
	maxBlocked   = 2 * time.Second        // longest pause before the next notification
)

type output struct {
	name     string
	laneType pb.LaneType
	pieces   bool
	lanes    []lane
	ended    bool
}

// actor is one component of one run. The mutex of the run guards it.
type actor struct {
	run      *hostedRun
	instance *pb.Instance
	typ      *Type
	node     Node
	changed  *sync.Cond // something that the body may wait for
	ctx      context.Context
	cancel   context.CancelFunc

	ports    map[string]*port
	order    []string // names of the inputs
	required map[string]bool
	single   map[string]bool
	lockstep bool
	arrivals uint64
	outputs  map[string]*output

	downClosed bool // no consumer takes anything any more
	downFault  *lanemesh.Error
	failure    error                           // of a channel of Items
	kept       map[string]map[string]*pb.Group // groups that are passed on, by output

	firings, skipped, retried uint64
	waits                     map[*pb.ActorWait]bool
	outside                   []string
	version                   uint64
	times                     [3]time.Duration
	doing                     activity
	since                     time.Time

	started, finished bool
	done              chan struct{} // the component and its lanes have ended, or it was abandoned
}

type activity int

const (
	waiting activity = iota
	busy
	blocked
)

func newActor(run *hostedRun, instance *pb.Instance, typ *Type) *actor {
	ctx, cancel := context.WithCancel(run.ctx)
	a := &actor{
		run: run, instance: instance, typ: typ, ctx: ctx, cancel: cancel, ports: map[string]*port{}, required: map[string]bool{},
		single: map[string]bool{}, outputs: map[string]*output{}, kept: map[string]map[string]*pb.Group{},
		waits: map[*pb.ActorWait]bool{}, done: make(chan struct{}),
	}
	a.changed = sync.NewCond(&run.mu)
	for _, input := range typ.Inputs {
		p := &port{name: input.Name, actor: a}
		if input.Assembled {
			p.wholes = newAssembler(input.Type)
		}
		a.ports[input.Name] = p
		a.order = append(a.order, input.Name)
		a.required[input.Name] = !input.Optional
	}
	for _, out := range typ.Outputs {
		a.outputs[out.Name] = &output{
			name: out.Name, laneType: out.Type, pieces: out.Pieces || out.Type == pb.LaneType_LANE_TYPE_ANSWERS}
	}
	for _, name := range instance.GetSingleItemInputs() {
		a.single[name] = true
	}
	a.lockstep = typ.ZipAll
	if mode := instance.GetSyncMode(); mode != pb.SyncMode_SYNC_MODE_UNSPECIFIED {
		a.lockstep = mode == pb.SyncMode_SYNC_MODE_ZIP_ALL
	}
	return a
}

// wait waits until something changes. The caller holds the mutex.
func (a *actor) wait(wait *pb.ActorWait) {
	a.version++
	a.waits[wait] = true
	doing := waiting
	if len(wait.GetFullEdges()) > 0 {
		doing = blocked
		version := a.version
		time.AfterFunc(blockedAfter, func() { a.stalled(version, blockedAfter) })
	}
	a.does(doing)
	a.changed.Wait()
	delete(a.waits, wait)
	a.version++
	a.does(busy)
}

// stalled notifies the orchestrator if the actor has waited for capacity since this version, and again while it does.
func (a *actor) stalled(version uint64, pause time.Duration) {
	a.run.mu.Lock()
	defer a.run.mu.Unlock()
	if a.version != version || a.finished || len(a.outside) > 0 {
		return
	}
	a.run.trySend(&pb.HostResponse{Frame: &pb.HostResponse_Stalled{Stalled: &pb.Stalled{Component: a.instance.GetComponent()}}})
	if pause *= 2; pause > maxBlocked {
		pause = maxBlocked
	}
	time.AfterFunc(pause, func() { a.stalled(version, pause) })
}

func (a *actor) does(doing activity) {
	now := time.Now()
	if !a.since.IsZero() {
		a.times[a.doing] += now.Sub(a.since)
	}
	a.doing, a.since = doing, now
}

// wakeAtEnd wakes the waits of the actor when a context has ended.
func (a *actor) wakeAtEnd(ctx context.Context) {
	<-ctx.Done()
	a.run.mu.Lock()
	a.changed.Broadcast()
	a.run.mu.Unlock()
}

// laneStopped closes the node when none of its lanes takes items any more.
func (a *actor) laneStopped() {
	a.changed.Broadcast()
	if a.finished || a.downClosed {
		return
	}
	open := false
	var fault *lanemesh.Error
	for _, out := range a.outputs {
		if out.ended {
			continue
		}
		for _, l := range out.lanes {
			if !l.stopped() {
				return
			}
			open = true
			if fault == nil {
				fault = l.broken()
			}
		}
	}
	if !open {
		return
	}
	a.downClosed, a.downFault = true, fault
	if a.typ.RunsToEnd {
		return
	}
	for _, p := range a.ports {
		for _, e := range p.edges {
			e.stop("its own consumers accept no more items", fault)
		}
	}
	a.cancel()
}

func (a *actor) noteFailure(err error) {
	if err == io.EOF {
		return
	}
	a.run.mu.Lock()
	defer a.run.mu.Unlock()
	if a.failure == nil {
		a.failure = err
	}
}

func (a *actor) endOutput(out *output, fault *lanemesh.Error) {
	if out.ended {
		return
	}
	out.ended = true
	for _, l := range out.lanes {
		l.end(fault)
	}
}

// supervise runs the component to its end, and reports it. The caller awaits `done`.
func (a *actor) supervise() {
	a.run.reportNode(a, pb.NodeState_NODE_STATE_RUNNING, "", nil)
	go a.wakeAtEnd(a.ctx)
	skipped, err := a.execute()
	a.finish(skipped, err)
}

func (a *actor) execute() (skipped string, err error) {
	if a.typ.Kind != Run {
		return a.fireAll(a.ctx)
	}
	a.run.mu.Lock()
	a.firings = 1
	a.run.mu.Unlock()
	body := func(ctx context.Context) error { return a.node.Call(ctx, &In{a: a, ctx: ctx}) }
	if limit := a.instance.GetTimeout(); limit != nil {
		return "", a.within(a.ctx, limit.AsDuration(), body)
	}
	return "", safely(func() error { return body(a.ctx) })
}

// finish ends the lanes and the inputs of a component whose body has ended, and reports its state.
func (a *actor) finish(skipped string, err error) {
	if closer, ok := a.node.(io.Closer); ok {
		if closing := safely(closer.Close); err == nil {
			err = closing
		}
	}
	a.run.mu.Lock()
	if a.finished { // it was abandoned
		a.run.mu.Unlock()
		return
	}
	if err == nil {
		err = a.failure
	}
	isEnd := errors.Is(err, ErrStopped) || errors.Is(err, context.Canceled)
	var fault *lanemesh.Error
	state := pb.NodeState_NODE_STATE_COMPLETED
	switch {
	case a.run.cancelling:
		state, fault = pb.NodeState_NODE_STATE_CANCELLED, a.cancelled()
	case err != nil && !isEnd:
		state, fault = pb.NodeState_NODE_STATE_FAILED, a.located(lanemesh.AsError(err))
	case a.downClosed && a.downFault != nil && !a.typ.RunsToEnd:
		state, fault = pb.NodeState_NODE_STATE_FAILED, a.located(a.downFault.AsSecondary())
	case skipped != "":
		state = pb.NodeState_NODE_STATE_SKIPPED
	}
	if fault != nil && fault.Code == codes.Canceled && fault.Secondary {
		state = pb.NodeState_NODE_STATE_CANCELLED
	}
	a.closeKept(&In{a: a, ctx: a.ctx}, errorOf(fault))
	a.end(fault)
	lanes := a.lanes()
	a.run.mu.Unlock()
	a.cancel()
	if state == pb.NodeState_NODE_STATE_FAILED {
		a.run.addFault(fault)
	}
	a.run.reportNode(a, state, skipped, fault)
	for _, l := range lanes {
		<-l.closed()
	}
	a.run.mu.Lock()
	for _, l := range lanes {
		if broken := l.broken(); broken != nil && fault == nil && !a.run.cancelling {
			a.run.faults = append(a.run.faults, a.located(broken))
		}
	}
	a.run.mu.Unlock()
	close(a.done)
}

func errorOf(fault *lanemesh.Error) error {
	if fault == nil {
		return nil
	}
	return fault
}

// end ends the outputs and stops the inputs. The caller holds the mutex.
func (a *actor) end(fault *lanemesh.Error) {
	a.finished = true
	a.does(waiting)
	var consequence *lanemesh.Error
	if fault != nil {
		consequence = fault.AsSecondary()
	}
	for _, out := range a.outputs {
		if a.run.cancelling {
			for _, l := range out.lanes {
				l.abort(a.cancelled())
			}
			out.ended = true
			continue
		}
		a.endOutput(out, consequence)
	}
	reason := a.instance.GetComponent() + " has ended"
	if fault != nil {
		reason = a.instance.GetComponent() + " failed"
	}
	for _, p := range a.ports {
		for _, e := range p.edges {
			e.stop(reason, consequence)
		}
	}
}

// abandon continues without a component that ignores its cancellation.
func (a *actor) abandon() {
	a.run.mu.Lock()
	if a.finished {
		a.run.mu.Unlock()
		return
	}
	a.end(a.cancelled())
	a.run.mu.Unlock()
	a.run.reportNode(a, pb.NodeState_NODE_STATE_CANCELLED, fmt.Sprintf("it ignored its cancellation for %s and was abandoned", cancelTimeout), nil)
	close(a.done)
}

func (a *actor) lanes() []lane {
	var lanes []lane
	for _, out := range a.outputs {
		lanes = append(lanes, out.lanes...)
	}
	return lanes
}

func (a *actor) located(fault *lanemesh.Error) *lanemesh.Error {
	located := fault.Located("component", a.instance.GetComponent(), "provider", a.typ.Provider, "server", a.run.serverName())
	located.Message, located.Traceback = a.run.secrets.hide(located.Message), a.run.secrets.hide(located.Traceback)
	return located
}

func (a *actor) cancelled() *lanemesh.Error {
	return a.located(&lanemesh.Error{Code: codes.Canceled, Reason: "cancelled", Secondary: true,
		Message: a.instance.GetComponent() + " was cancelled"})
}

// state returns the update of a node with its counts and times. The caller holds the mutex.
func (a *actor) state(state pb.NodeState, detail string, fault *lanemesh.Error) *pb.NodeUpdate {
	update := &pb.NodeUpdate{
		Component: a.instance.GetComponent(), State: state, Detail: detail,
		Firings: a.firings, SkippedFirings: a.skipped, RetriedFirings: a.retried,
	}
	if a.started {
		if !a.finished {
			a.does(a.doing)
		}
		update.Waiting, update.Busy, update.Blocked =
			durationpb.New(a.times[waiting]), durationpb.New(a.times[busy]), durationpb.New(a.times[blocked])
	}
	if fault != nil {
		update.Error = fault.Proto()
	}
	return update
}

// report returns the state of the actor for a probe. The caller holds the mutex.
func (a *actor) report() *pb.ActorReport {
	report := &pb.ActorReport{Component: a.instance.GetComponent(), Version: a.version, Outside: strings.Join(a.outside, ", ")}
	if len(a.outside) == 0 {
		for wait := range a.waits {
			report.Waits = append(report.Waits, wait)
		}
	}
	return report
}

// safely calls a function of the node type. A panic becomes an error.
func safely(call func() error) (err error) {
	defer func() {
		if raised := recover(); raised != nil {
			err = panicked(raised)
		}
	}()
	return call()
}

func panicked(raised interface{}) *lanemesh.Error {
	return &lanemesh.Error{
		Code: codes.Unknown, Reason: "node-error", Message: fmt.Sprintf("panic: %v", raised), Traceback: string(debug.Stack()),
		Details: map[string]string{"exception": "panic"},
	}
}
