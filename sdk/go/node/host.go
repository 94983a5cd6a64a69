package node

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"

	lanemesh "lanemesh/sdk/go"
	pb "lanemesh/sdk/go/lanemeshv1"
)

const (
	maxUpdates       = 256              // frames that wait for the orchestrator; at this bound, nodes wait with their reports
	halfCloseTimeout = 10 * time.Second // for an orchestrator to half-close after the last frame
	idleFrame        = 20 * time.Second
	closeTimeout     = 20 * time.Second // for the run of a broken stream to end
)

// features are the optional parts of the protocol that this package supports.
var features = []string{"groups", "lane-keys"}

// outlet carries the responses of a Host stream, in order.
type outlet struct {
	queue chan *pb.HostResponse
	over  chan struct{} // the stream has ended: responses are dropped
	once  sync.Once
}

func (o *outlet) send(response *pb.HostResponse) {
	select {
	case o.queue <- response:
	case <-o.over:
	}
}

func (o *outlet) trySend(response *pb.HostResponse) bool {
	select {
	case o.queue <- response:
		return true
	default:
		return false
	}
}

func (o *outlet) close() { o.once.Do(func() { close(o.over) }) }

// phase is how far the run of a session has come.
type phase int

const (
	placing    phase = iota // its components are being made, or some of them could not be
	placed                  // connect may come
	connecting              // its lanes are being opened, or some of them could not be
	connected               // start may come
	started
	refused // start came too early
)

// session is the host's side of one Host stream: one run.
type session struct {
	server *Server
	out    *outlet
	work   sync.WaitGroup

	mu       sync.Mutex
	run      *hostedRun
	phase    phase
	finished chan struct{}
}

// Host runs the components of one run for as long as the stream lives.
func (s *Server) Host(stream pb.NodeService_HostServer) error {
	h := &session{
		server: s, out: &outlet{queue: make(chan *pb.HostResponse, maxUpdates), over: make(chan struct{})}, finished: make(chan struct{}),
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		for {
			request, err := stream.Recv()
			if err != nil {
				if err != io.EOF {
					h.out.close()
				}
				return // a half-close and a loss have the same effect: the orchestrator has disconnected
			}
			h.handle(request)
		}
	}()
	err := h.write(stream, read)
	h.out.close()
	h.end()
	return err
}

// write sends the responses until the run has finished and the orchestrator has half-closed, or the stream has ended.
func (h *session) write(stream pb.NodeService_HostServer, read <-chan struct{}) error {
	ticker := time.NewTicker(idleFrame)
	defer ticker.Stop()
	for {
		var response *pb.HostResponse
		select {
		case response = <-h.out.queue:
		case <-ticker.C:
			response = &pb.HostResponse{}
		case <-read:
			return nil
		case <-h.server.stopping:
			return nil
		}
		if err := stream.Send(response); err != nil {
			return err
		}
		if response.GetFinished() != nil {
			timer := time.NewTimer(halfCloseTimeout)
			defer timer.Stop()
			select {
			case <-read:
			case <-timer.C:
			case <-stream.Context().Done():
			}
			return nil
		}
	}
}

// end cancels what still runs, and waits for its end.
func (h *session) end() {
	h.mu.Lock()
	run := h.run
	h.mu.Unlock()
	if run != nil {
		run.stop("the orchestrator disconnected")
	}
	ended := make(chan struct{})
	go func() {
		h.work.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(closeTimeout):
	}
	if run != nil {
		h.server.forget(run)
	}
}

func (h *session) begin(work func()) {
	h.work.Add(1)
	go func() {
		defer h.work.Done()
		work()
	}()
}

// handle handles one frame. Its work is done in goroutines, so that a cancellation is read meanwhile.
func (h *session) handle(request *pb.HostRequest) {
	h.mu.Lock()
	run := h.run
	h.mu.Unlock()
	switch frame := request.GetFrame().(type) {
	case *pb.HostRequest_Place:
		h.begin(func() {
			faults := h.place(frame.Place)
			h.out.send(&pb.HostResponse{Frame: &pb.HostResponse_Placed{Placed: &pb.Placed{Faults: protos(faults)}}})
		})
	case *pb.HostRequest_Connect:
		h.begin(func() {
			faults := h.connect()
			h.out.send(&pb.HostResponse{Frame: &pb.HostResponse_Connected{Connected: &pb.Connected{Faults: protos(faults)}}})
		})
	case *pb.HostRequest_Start:
		h.begin(h.start)
	case *pb.HostRequest_Cancel:
		if run != nil {
			run.stop(frame.Cancel.GetReason())
		}
	case *pb.HostRequest_Grow:
		if run != nil {
			run.grow(frame.Grow)
		}
	case *pb.HostRequest_Probe:
		if run != nil {
			h.begin(func() {
				h.out.send(&pb.HostResponse{Frame: &pb.HostResponse_Probed{Probed: run.probe(frame.Probe.GetId())}})
			})
		}
	case *pb.HostRequest_Detach: // of a server without recovery no edge is detached
		h.begin(func() {
			h.out.send(&pb.HostResponse{Frame: &pb.HostResponse_Detached{Detached: &pb.Detached{Id: frame.Detach.GetId()}}})
		})
	}
}

func (h *session) place(place *pb.Place) []*lanemesh.Error {
	if fault := h.server.refuses(place); fault != nil {
		return []*lanemesh.Error{fault}
	}
	h.mu.Lock()
	if h.run != nil {
		h.mu.Unlock()
		return []*lanemesh.Error{h.server.fault(codes.AlreadyExists, "run-exists", fmt.Sprintf("the stream hosts the run %q already", h.run.place.GetRunId()))}
	}
	run := newHostedRun(h.server, place, h.out)
	if fault := h.server.remember(run); fault != nil {
		h.mu.Unlock()
		return []*lanemesh.Error{fault}
	}
	h.run = run
	h.mu.Unlock()
	faults := run.prepare()
	h.mu.Lock()
	if len(faults) == 0 && h.phase == placing {
		h.phase = placed
	}
	h.mu.Unlock()
	return faults
}

func (h *session) connect() []*lanemesh.Error {
	h.mu.Lock()
	run := h.run
	if h.phase != placed {
		h.mu.Unlock()
		return []*lanemesh.Error{h.misplaced("`connect` came before `placed`, or twice")}
	}
	h.phase = connecting
	h.mu.Unlock()
	faults := run.connect()
	h.mu.Lock()
	if len(faults) == 0 && h.phase == connecting {
		h.phase = connected
	}
	h.mu.Unlock()
	return faults
}

// start runs the components to their end. A start at another time ends the run with a fault.
func (h *session) start() {
	h.mu.Lock()
	run, before := h.run, h.phase
	switch {
	case before == connected:
		h.phase = started
	case run != nil && before != started:
		h.phase = refused
	}
	h.mu.Unlock()
	switch before {
	case connected:
		faults := run.execute()
		h.server.forget(run)
		h.finish(faults)
	case started: // its only finished has the fault
		run.addFault(h.misplaced("`start` came twice"))
		run.stop("`start` came twice")
	case refused: // finished was the last frame of the run
	default:
		if run != nil {
			run.stop("`start` came before `connected`")
			h.server.forget(run)
		}
		h.finish([]*lanemesh.Error{h.misplaced("`start` came before `connected`")})
	}
}

func (h *session) finish(faults []*lanemesh.Error) {
	h.out.send(&pb.HostResponse{Frame: &pb.HostResponse_Finished{Finished: &pb.Finished{Faults: protos(faults)}}})
}

func (h *session) misplaced(why string) *lanemesh.Error {
	return h.server.fault(codes.FailedPrecondition, "not-placed", why)
}

func protos(faults []*lanemesh.Error) []*pb.Fault {
	made := make([]*pb.Fault, len(faults))
	for i, fault := range faults {
		made[i] = fault.Proto()
	}
	return made
}

// refuses returns why a part of a run cannot be hosted here; nil if it can.
func (s *Server) refuses(place *pb.Place) *lanemesh.Error {
	needed := map[string]bool{}
	for _, feature := range place.GetFeatures() {
		needed[feature] = true
	}
	needed["preload"] = needed["preload"] || place.GetKeepWarm()
	needed["quick-starts"] = needed["quick-starts"] || place.GetOpensLanesAtStart()
	needed["merged-frames"] = needed["merged-frames"] || place.GetMergesFrames()
	needed["short-lanes"] = needed["short-lanes"] || place.GetShortLanes()
	for _, edge := range place.GetEdges() {
		needed["recovery"] = needed["recovery"] || edge.GetReplayable() || edge.GetReopenable()
		needed["joins"] = needed["joins"] || len(edge.GetForks()) > 0
	}
	for _, instance := range place.GetInstances() {
		needed["isolation"] = needed["isolation"] || instance.GetIsolation() == pb.Isolation_ISOLATION_PROCESS
		needed["joins"] = needed["joins"] || instance.GetSyncMode() == pb.SyncMode_SYNC_MODE_JOIN
	}
	for _, feature := range features {
		delete(needed, feature)
	}
	var missing []string
	for feature, isNeeded := range needed {
		if isNeeded {
			missing = append(missing, fmt.Sprintf("%q", feature))
		}
	}
	if len(missing) > 0 {
		return s.fault(codes.FailedPrecondition, "missing-feature", fmt.Sprintf(
			"it does not support %s, which the run needs there. Use a node server whose software does", strings.Join(missing, " and ")))
	}
	if len(place.GetControls()) > 0 {
		return s.fault(codes.FailedPrecondition, "missing-feature", "its node types call no helpers, and the run has control connections there")
	}
	return nil
}

func (s *Server) fault(code codes.Code, reason, why string) *lanemesh.Error {
	return &lanemesh.Error{Code: code, Reason: reason, Message: fmt.Sprintf("the node server %q: %s", s.name(), why),
		Details: map[string]string{"server": s.name()}}
}

type runKey struct {
	id          string
	incarnation uint32
}

// remember adds a run, unless the server drains, has it already or is full.
func (s *Server) remember(run *hostedRun) *lanemesh.Error {
	key := runKey{run.place.GetRunId(), run.place.GetIncarnation()}
	s.mu.Lock()
	fault := func() *lanemesh.Error {
		active := 0
		for _, other := range s.runs {
			active += len(other.place.GetInstances())
		}
		wanted := len(run.place.GetInstances())
		switch {
		case s.draining:
			return &lanemesh.Error{Code: codes.Unavailable, Reason: "draining", Message: "it is draining and accepts no new runs"}
		case s.runs[key] != nil:
			return &lanemesh.Error{Code: codes.AlreadyExists, Reason: "run-exists", Message: fmt.Sprintf("the run %q is already hosted", key.id)}
		case s.options.MaxInstances > 0 && active+wanted > s.options.MaxInstances:
			return &lanemesh.Error{Code: codes.ResourceExhausted, Reason: "server-full", Message: fmt.Sprintf(
				"it runs %d of at most %d components, and %d more were requested", active, s.options.MaxInstances, wanted)}
		}
		s.runs[key] = run
		return nil
	}()
	s.mu.Unlock()
	if fault != nil {
		return s.fault(fault.Code, fault.Reason, fault.Message)
	}
	return nil
}

func (s *Server) forget(run *hostedRun) {
	key := runKey{run.place.GetRunId(), run.place.GetIncarnation()}
	s.mu.Lock()
	known := s.runs[key] == run
	if known {
		delete(s.runs, key)
		close(run.gone)
	}
	s.mu.Unlock()
	if known {
		run.release()
	}
}

// accept returns the consumer end that a lane requests, and its run.
func (s *Server) accept(open *pb.LaneOpen) (*edge, *hostedRun, *lanemesh.Error) {
	s.mu.Lock()
	run := s.runs[runKey{open.GetRunId(), open.GetIncarnation()}]
	s.mu.Unlock()
	if run == nil {
		return nil, nil, refusedLane(codes.NotFound, "unknown-run", open, fmt.Sprintf("the run %q is not hosted here", open.GetRunId()))
	}
	e, fault := run.accept(open)
	return e, run, fault
}

// Describe lists the node types.
func (s *Server) Describe(context.Context, *pb.DescribeRequest) (*pb.DescribeResponse, error) {
	return &pb.DescribeResponse{
		Manifests: s.manifests, ProtocolVersion: lanemesh.ProtocolVersion, SoftwareVersion: s.options.SoftwareVersion,
		Features: features, InstanceId: s.instanceID,
	}, nil
}
