package node

import (
	"context"
	"crypto/subtle"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc/codes"

	lanemesh "lanemesh/sdk/go"
	pb "lanemesh/sdk/go/lanemeshv1"
)

const (
	timeoutGrace      = 2 * time.Second // longer than its timeout a run may take here; the orchestrator ends it earlier
	cancelTimeout     = 8 * time.Second // for cancelled nodes to end before they are abandoned
	edgeReportPause   = 100 * time.Millisecond
	firingReportEvery = 5 // reports of edges for one of firings
)

// hostedRun is the part of one run on this server, from `place` to `finished`.
type hostedRun struct {
	server  *Server
	place   *pb.Place
	secrets secrets
	out     *outlet
	ctx     context.Context
	cancel  context.CancelFunc

	mu         sync.Mutex // of the run, its actors and lanes
	actors     map[string]*actor
	incoming   map[string]*edge
	senders    []*sender
	lanes      []lane
	unopened   map[string]*pb.Edge // lanes that other servers have yet to open
	faults     []*lanemesh.Error
	cancelling bool
	reported   map[string]edgeState
	counted    map[string][3]uint64
	gone       chan struct{} // everything has ended
}

type edgeState struct {
	arrived, taken uint64
	drained        bool
	limitItems     uint64
	limitBytes     int
}

func newHostedRun(server *Server, place *pb.Place, out *outlet) *hostedRun {
	ctx, cancel := context.WithCancel(context.Background())
	return &hostedRun{
		server: server, place: place, out: out, ctx: ctx, cancel: cancel, actors: map[string]*actor{}, incoming: map[string]*edge{},
		unopened: map[string]*pb.Edge{}, reported: map[string]edgeState{}, counted: map[string][3]uint64{}, gone: make(chan struct{}),
		secrets: secretsOf(place.GetInstances()),
	}
}

func (r *hostedRun) serverName() string {
	if r.place.GetServer() != "" {
		return r.place.GetServer()
	}
	return r.server.name()
}

// prepare makes every instance and the consumer ends of the edges. It returns all faults.
func (r *hostedRun) prepare() []*lanemesh.Error {
	var faults []*lanemesh.Error
	for _, instance := range r.place.GetInstances() {
		if fault := r.prepareInstance(instance); fault != nil {
			located := fault.Located("component", instance.GetComponent(), "provider", instance.GetProvider(), "server", r.serverName())
			located.Message = r.secrets.hide(located.Message)
			faults = append(faults, located)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, spec := range r.place.GetEdges() {
		consumer := r.actors[spec.GetConsumer()]
		if consumer == nil {
			continue
		}
		p := consumer.ports[spec.GetInput()]
		if p == nil {
			faults = append(faults, consumer.misuse("unknown-port", fmt.Sprintf("has no input %q", spec.GetInput())))
			continue
		}
		e := &edge{
			id: spec.GetId(), laneType: spec.GetLaneType(), port: p, limitItems: spec.GetLimitItems(), limitBytes: int(spec.GetLimitBytes()),
			changed: sync.NewCond(&r.mu), wakeAt: never,
		}
		if e.limitItems < 1 {
			e.limitItems = 1
		}
		if e.limitBytes < 1 {
			e.limitBytes = 1
		}
		p.edges = append(p.edges, e)
		if spec.GetSerializeGroups() && p.order == nil && p.wholes == nil {
			p.order = newSerializer()
		}
		r.incoming[e.id] = e
		if spec.GetProducerServer() != "" && r.actors[spec.GetProducer()] == nil {
			r.unopened[e.id] = spec
		}
	}
	return faults
}

func (r *hostedRun) prepareInstance(instance *pb.Instance) *lanemesh.Error {
	typ := r.server.types[instance.GetProvider()]
	if typ == nil {
		return &lanemesh.Error{Code: codes.NotFound, Reason: "unknown-provider", Message: fmt.Sprintf(
			"the node server %q has no node type %q", r.serverName(), instance.GetProvider())}
	}
	if instance.GetHelper() {
		return &lanemesh.Error{Code: codes.InvalidArgument, Reason: "bad-node", Message: fmt.Sprintf(
			"%s: the node type %q serves no control connections", instance.GetComponent(), instance.GetProvider())}
	}
	a := newActor(r, instance, typ)
	node, err := typ.node(instance.GetConfigJson())
	if err != nil {
		fault := lanemesh.AsError(err)
		if fault.Reason == "node-error" {
			fault = &lanemesh.Error{Code: codes.InvalidArgument, Reason: "bad-config", Message: fmt.Sprintf("%s: %s", instance.GetComponent(), err)}
		}
		return fault
	}
	a.node = node
	r.mu.Lock()
	r.actors[instance.GetComponent()] = a
	r.mu.Unlock()
	return nil
}

// connect opens the outgoing lanes. It returns all faults.
func (r *hostedRun) connect() []*lanemesh.Error {
	r.mu.Lock()
	var faults []*lanemesh.Error
	for _, spec := range r.place.GetEdges() {
		producer := r.actors[spec.GetProducer()]
		if producer == nil {
			continue
		}
		out := producer.outputs[spec.GetOutput()]
		if out == nil {
			faults = append(faults, producer.misuse("unknown-port", fmt.Sprintf("has no output %q", spec.GetOutput())))
			continue
		}
		var made lane
		if local := r.incoming[spec.GetId()]; local != nil && spec.GetConsumerAddress() == "" {
			made = newLocalLane(local, producer)
		} else {
			remote := newSender(r, producer, spec)
			r.senders = append(r.senders, remote)
			made = remote
		}
		out.lanes = append(out.lanes, made)
		r.lanes = append(r.lanes, made)
	}
	senders := r.senders
	r.mu.Unlock()
	opened := make(chan *lanemesh.Error, len(senders))
	for _, s := range senders {
		go func(s *sender) { opened <- s.open(r.ctx) }(s)
	}
	for range senders {
		if fault := <-opened; fault != nil {
			faults = append(faults, fault.Located("server", r.serverName()))
		}
	}
	return faults
}

// accept returns the consumer end of a lane that another server opens.
func (r *hostedRun) accept(open *pb.LaneOpen) (*edge, *lanemesh.Error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.incoming[open.GetEdgeId()]
	switch {
	case subtle.ConstantTimeCompare(r.place.GetLaneKey(), open.GetLaneKey()) != 1 && len(r.place.GetLaneKey()) > 0:
		return nil, refusedLane(codes.PermissionDenied, "wrong-lane-key", open, "it does not prove that it belongs to the run")
	case r.cancelling:
		return nil, refusedLane(codes.Canceled, "cancelled", open, "the run is being cancelled")
	case e == nil:
		return nil, refusedLane(codes.NotFound, "unknown-edge", open, "the run has no such edge here")
	case e.laneType != open.GetLaneType():
		return nil, refusedLane(codes.InvalidArgument, "lane-mismatch", open, fmt.Sprintf("the edge is of type %s, the lane is not", e.laneType))
	case open.GetReopen():
		return nil, refusedLane(codes.FailedPrecondition, "not-detached", open, "the edge does not wait for a new lane")
	case e.opened:
		return nil, refusedLane(codes.AlreadyExists, "already-open", open, "the edge has a lane already")
	case open.GetResumeFrom() > 0:
		return nil, refusedLane(codes.FailedPrecondition, "no-resume", open, "the lanes of this edge cannot be resumed")
	case open.GetItems() != nil:
		return nil, refusedLane(codes.FailedPrecondition, "missing-feature", open, `it has items in the first frame, which needs the feature "merged-frames"`)
	}
	e.opened = true
	delete(r.unopened, e.id)
	return e, nil
}

func refusedLane(code codes.Code, reason string, open *pb.LaneOpen, why string) *lanemesh.Error {
	return &lanemesh.Error{Code: code, Reason: reason, Details: map[string]string{"lane": open.GetEdgeId()}, Message: fmt.Sprintf(
		"the lane %q of run %q is rejected: %s", open.GetEdgeId(), open.GetRunId(), why)}
}

// execute runs every component to its end. It returns their faults, in the order of occurrence.
func (r *hostedRun) execute() []*lanemesh.Error {
	if faults := r.notOpened(); len(faults) > 0 {
		r.stop("not every lane was opened")
		return faults
	}
	r.mu.Lock()
	if r.cancelling {
		defer r.mu.Unlock()
		return r.faults
	}
	for _, a := range r.actors {
		a.started = true
		a.does(busy)
	}
	r.mu.Unlock()
	for _, a := range r.actors {
		go a.supervise()
	}
	stopReports := make(chan struct{})
	reports := make(chan struct{})
	go func() {
		defer close(reports)
		r.reportPeriodically(stopReports)
	}()
	if limit := r.place.GetTimeout(); limit != nil {
		timer := time.AfterFunc(limit.AsDuration()+timeoutGrace, func() {
			message := fmt.Sprintf("the run took longer than its timeout of %s", limit.AsDuration())
			r.addFault(&lanemesh.Error{Code: codes.DeadlineExceeded, Reason: "timeout", Message: message,
				Details: map[string]string{"server": r.serverName()}})
			r.stop(message)
		})
		defer timer.Stop()
	}
	for _, a := range r.actors {
		<-a.done
	}
	close(stopReports)
	<-reports
	r.reportEdges()
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.faults
}

func (r *hostedRun) notOpened() []*lanemesh.Error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var faults []*lanemesh.Error
	for id, spec := range r.unopened {
		faults = append(faults, &lanemesh.Error{
			Code: codes.FailedPrecondition, Reason: "lane-not-opened",
			Message: fmt.Sprintf("the node server %q has connected, but has not opened the lane %s", spec.GetProducerServer(), id),
			Details: map[string]string{"server": r.serverName(), "lane": id, "component": spec.GetConsumer()},
		})
	}
	return faults
}

// stop cancels the run here. It returns at once; `execute` returns when everything has ended.
func (r *hostedRun) stop(reason string) {
	r.mu.Lock()
	if r.cancelling {
		r.mu.Unlock()
		return
	}
	r.cancelling = true
	started := map[*actor]bool{}
	for _, a := range r.actors {
		started[a] = a.started
		a.changed.Broadcast()
	}
	for _, a := range r.actors {
		if !a.started { // it has no body that would end its lanes
			a.end(a.cancelled())
		}
	}
	r.mu.Unlock()
	r.cancel()
	for a, isStarted := range started {
		if isStarted {
			time.AfterFunc(cancelTimeout, a.abandon)
		}
	}
}

// release ends what a run has left: consumer ends that no component has stopped.
func (r *hostedRun) release() {
	r.cancel()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.incoming {
		e.stop("the run has ended", nil)
	}
}

func (r *hostedRun) grow(grow *pb.Grow) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e := r.incoming[grow.GetEdgeId()]; e != nil {
		e.grow(grow.GetLimitItems(), grow.GetLimitBytes())
	}
}

func (r *hostedRun) probe(number uint64) *pb.Probed {
	r.mu.Lock()
	defer r.mu.Unlock()
	probed := &pb.Probed{Id: number}
	for _, a := range r.actors {
		if a.started && !a.finished {
			probed.Actors = append(probed.Actors, a.report())
		}
	}
	for _, l := range r.lanes {
		probed.Edges = append(probed.Edges, l.report())
	}
	for _, e := range r.incoming {
		probed.Edges = append(probed.Edges, &pb.EdgeReport{
			EdgeId: e.id, Items: e.arrived, TakenItems: e.taken, LimitItems: e.limitItems, HeldBytes: uint64(e.bufferedBytes),
			LimitBytes: uint64(e.limitBytes), Ended: e.ended || e.stopped,
		})
	}
	return probed
}

func (r *hostedRun) addFault(fault *lanemesh.Error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.faults = append(r.faults, fault)
}

func (r *hostedRun) reportNode(a *actor, state pb.NodeState, detail string, fault *lanemesh.Error) {
	r.mu.Lock()
	update := a.state(state, detail, fault)
	r.mu.Unlock()
	r.update(&pb.Update{Kind: &pb.Update_Node{Node: update}})
}

func (r *hostedRun) log(a *actor, level pb.LogLevel, message string) {
	r.tryUpdate(&pb.Update{Kind: &pb.Update_Log{Log: &pb.LogUpdate{
		Component: a.instance.GetComponent(), Level: level, Message: r.secrets.hide(message)}}})
}

func (r *hostedRun) update(update *pb.Update) {
	r.out.send(&pb.HostResponse{Frame: &pb.HostResponse_Update{Update: stamped(update)}})
}

func (r *hostedRun) tryUpdate(update *pb.Update) bool {
	return r.trySend(&pb.HostResponse{Frame: &pb.HostResponse_Update{Update: stamped(update)}})
}

func (r *hostedRun) trySend(response *pb.HostResponse) bool { return r.out.trySend(response) }

func (r *hostedRun) reportPeriodically(stop <-chan struct{}) {
	ticker := time.NewTicker(edgeReportPause)
	defer ticker.Stop()
	for count := 1; ; count++ {
		select {
		case <-stop:
			return
		case <-ticker.C:
		}
		r.reportEdges()
		if count%firingReportEvery == 0 {
			r.reportFirings()
		}
	}
}

// reportEdges reports the state of the edges that end here and have changed.
func (r *hostedRun) reportEdges() {
	r.mu.Lock()
	var updates []*pb.Update
	for id, e := range r.incoming {
		drained := (e.ended || e.stopped) && e.buffered() == 0
		now := edgeState{e.arrived, e.taken, drained, e.limitItems, e.limitBytes}
		if before, known := r.reported[id]; known && before == now {
			continue
		}
		r.reported[id] = now
		updates = append(updates, &pb.Update{Kind: &pb.Update_Edge{Edge: &pb.EdgeUpdate{
			EdgeId: id, Sent: e.arrived, Consumed: e.taken, Buffered: e.buffered(), Drained: drained, LimitItems: e.limitItems}}})
	}
	r.mu.Unlock()
	for _, update := range updates {
		r.update(update)
	}
}

func (r *hostedRun) reportFirings() {
	r.mu.Lock()
	updates := map[string]*pb.Update{}
	counts := map[string][3]uint64{}
	for component, a := range r.actors {
		now := [3]uint64{a.firings, a.skipped, a.retried}
		if a.started && !a.finished && now != r.counted[component] {
			counts[component] = now
			updates[component] = &pb.Update{Kind: &pb.Update_Node{Node: a.state(pb.NodeState_NODE_STATE_RUNNING, "", nil)}}
		}
	}
	r.mu.Unlock()
	for component, update := range updates {
		if r.tryUpdate(update) {
			r.mu.Lock()
			r.counted[component] = counts[component]
			r.mu.Unlock()
		}
	}
}
