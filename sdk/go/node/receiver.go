package node

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	lanemesh "lanemesh/sdk/go"
	pb "lanemesh/sdk/go/lanemeshv1"
)

const (
	firstFrameTimeout = 10 * time.Second
	discardTimeout    = 5 * time.Second      // for a producer that broke the protocol to end the call
	creditPatience    = 2 * time.Millisecond // how long less than half a window is withheld from a producer without credit
)

// Exchange serves one lane: it reads while the inbox has capacity, and grants credit for the items that the node has taken. It never
// ends the call before the producer has half-closed.
func (s *Server) Exchange(stream pb.NodeService_ExchangeServer) error {
	open, err := firstFrame(stream)
	if err != nil {
		return err
	}
	e, run, refusal := s.accept(open)
	if refusal != nil {
		return refusal.GRPCStatus().Err()
	}
	r := &receiver{run: run, edge: e, stream: stream}
	return r.serve()
}

func firstFrame(stream pb.NodeService_ExchangeServer) (*pb.LaneOpen, error) {
	type received struct {
		frame *pb.ExchangeRequest
		err   error
	}
	first := make(chan received, 1)
	go func() {
		frame, err := stream.Recv()
		first <- received{frame, err}
	}()
	timer := time.NewTimer(firstFrameTimeout)
	defer timer.Stop()
	select {
	case got := <-first:
		if got.err != nil && got.err != io.EOF {
			return nil, status.Errorf(codes.InvalidArgument, "the first frame of a lane is invalid: %s", got.err)
		}
		if got.frame.GetOpen() == nil {
			return nil, status.Error(codes.InvalidArgument, "the first frame of a lane must be `open`")
		}
		return got.frame.GetOpen(), nil
	case <-timer.C:
		return nil, status.Errorf(codes.DeadlineExceeded, "no `open` arrived within %s", firstFrameTimeout)
	}
}

// receiver is the consumer's side of one Exchange call. The mutex of the run guards what the reading and the writing half share.
type receiver struct {
	run    *hostedRun
	edge   *edge
	stream pb.NodeService_ExchangeServer

	received   uint64
	chunks     []byte
	refusal    *lanemesh.Error // the producer broke the protocol
	halfClosed bool
	holding    bool // at the byte limit: further frames stay in the stream
	over       bool // the call has ended
	beat       bool
	quiet      bool
	waited     bool
	reported   uint64 // taken items that the producer knows of
	limit      uint64 // that it knows of
}

func (r *receiver) serve() error {
	ctx := r.stream.Context()
	written := make(chan struct{})
	watched := make(chan struct{})
	stop := make(chan struct{})
	go func() {
		defer close(watched)
		r.watch(ctx, stop)
	}()
	go func() {
		defer close(written)
		r.write()
	}()
	violation, err := r.read()
	r.run.mu.Lock()
	if violation != "" {
		r.refusal = brokenLane(codes.InvalidArgument, r.edge.id, violation)
		r.edge.end(r.refusal)
	}
	r.halfClosed = true
	r.edge.changed.Broadcast()
	r.run.mu.Unlock()
	if violation != "" {
		r.discard()
	}
	<-written
	close(stop)
	<-watched
	if violation != "" {
		return status.Errorf(codes.InvalidArgument, "lane %s: %s", r.edge.id, violation)
	}
	return err
}

// watch wakes the halves when the call has ended, and for heartbeats.
func (r *receiver) watch(ctx context.Context, stop <-chan struct{}) {
	ticker := time.NewTicker(beatInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			r.run.mu.Lock()
			r.beat, r.quiet = r.quiet, true
		case <-ctx.Done():
			r.run.mu.Lock()
			r.over = true
		case <-stop:
			return
		}
		r.edge.changed.Broadcast()
		over := r.over
		r.run.mu.Unlock()
		if over {
			return
		}
	}
}

// read takes frames until the producer has half-closed. It returns how the producer broke the protocol, or the error of a call that
// broke. The edge has ended in every case.
func (r *receiver) read() (violation string, err error) {
	e := r.edge
	for {
		frame, err := r.stream.Recv()
		r.run.mu.Lock()
		if err != nil {
			defer r.run.mu.Unlock()
			if failed, _ := status.FromError(err); err != io.EOF && strings.Contains(failed.Message(), "unmarshal") {
				return "a frame is invalid", nil
			}
			return "", r.ended(err)
		}
		switch content := frame.GetFrame().(type) {
		case *pb.ExchangeRequest_Items:
			violation = r.takeItems(content.Items)
		case *pb.ExchangeRequest_Chunk:
			violation = r.takeChunk(content.Chunk.GetContent())
		case *pb.ExchangeRequest_End:
			violation = r.takeEnd(content.End)
		case *pb.ExchangeRequest_Open:
			violation = "a second `open` came on it"
		}
		if violation != "" {
			r.run.mu.Unlock()
			return violation, nil
		}
		if e.arrived-r.reported >= r.limit {
			e.changed.Broadcast() // the producer is out of credit
		}
		for e.bufferedBytes >= e.limitBytes && !e.stopped && !r.over {
			r.holding = true
			e.wakeAt = e.taken + 1
			e.changed.Wait()
		}
		r.holding = false
		r.run.mu.Unlock()
	}
}

// ended ends the edge of a call that the producer has half-closed, or that broke.
func (r *receiver) ended(err error) error {
	if err == io.EOF {
		if !r.edge.ended {
			r.lost(codes.DataLoss, fmt.Sprintf("it was closed without `end` after %d items", r.received))
		}
		return nil
	}
	r.over = true
	if !r.edge.ended {
		r.lost(codes.Unavailable, "the connection is gone")
	}
	return err
}

func (r *receiver) lost(code codes.Code, why string) {
	if r.run.cancelling {
		code = codes.Canceled
	}
	fault := brokenLane(code, r.edge.id, why)
	if from, ok := peer.FromContext(r.stream.Context()); ok {
		fault = fault.Located("peer", from.Addr.String())
	}
	r.edge.end(fault)
}

func (r *receiver) takeItems(items *pb.LaneItems) string {
	e := r.edge
	if e.ended {
		return "items arrived after the end"
	}
	if items.GetEnd() != nil {
		return "the end came with items, which was not agreed on"
	}
	count := uint64(len(items.GetItems()))
	r.received += count
	if !e.stopped && e.buffered()+count > e.limitItems {
		return fmt.Sprintf("%d items are in transit; the limit is %d", e.buffered()+count, e.limitItems)
	}
	for i, item := range items.GetItems() { // all of them, before the node gets one
		if e.stopped {
			break
		}
		kind := lanemesh.TypeOf(item)
		if kind != e.laneType && !(item.GetPayload() == nil && (item.Group != nil || item.Lineage != nil)) {
			return fmt.Sprintf("an item of another type arrived on a lane of type %s", e.laneType)
		}
		if broken := brokenJSON(item); broken != "" {
			return broken
		}
		if i == 0 && len(r.chunks) > 0 {
			media := lanemesh.MediaOf(item)
			if media == nil {
				return "chunks arrived before an item that is neither media nor a document with a file"
			}
			if len(r.chunks)+len(media.GetContent()) > maxMediaBytes {
				return fmt.Sprintf("an item has more than %d bytes", maxMediaBytes)
			}
			media.Content, r.chunks = append(r.chunks, media.GetContent()...), nil
		}
	}
	for _, item := range items.GetItems() {
		e.put(item, sizeOf(item))
	}
	if e.stopped {
		r.chunks = nil
	}
	return ""
}

func (r *receiver) takeChunk(content []byte) string {
	if r.edge.stopped {
		r.chunks = nil
		return ""
	}
	if len(r.chunks)+len(content) > maxMediaBytes {
		return fmt.Sprintf("more than %d bytes of chunks arrived for one item", maxMediaBytes)
	}
	r.chunks = append(r.chunks, content...)
	return ""
}

func (r *receiver) takeEnd(end *pb.LaneEnd) string {
	e := r.edge
	if e.ended {
		return ""
	}
	fault := lanemesh.FromProto(end.GetOutcome())
	switch {
	case fault != nil:
		e.end(fault.AsSecondary().Located("lane", e.id))
	case len(r.chunks) > 0 && !e.stopped:
		return "the end arrived after chunks without their item"
	case end.GetItemCount() != r.received:
		r.lost(codes.DataLoss, fmt.Sprintf("%d of %d items arrived", r.received, end.GetItemCount()))
	default:
		e.end(nil)
	}
	return ""
}

// discard reads what a producer that broke the protocol still sends, for a while: a status while it writes would hide the `stop`.
func (r *receiver) discard() {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			_, err := r.stream.Recv()
			if failed, _ := status.FromError(err); err != nil && !strings.Contains(failed.Message(), "unmarshal") {
				return
			}
		}
	}()
	timer := time.NewTimer(discardTimeout)
	defer timer.Stop()
	select {
	case <-ended:
	case <-timer.C:
	}
}

// write sends `accepted`, then what next decides, until there is nothing left to report.
func (r *receiver) write() {
	r.run.mu.Lock()
	r.limit = r.edge.limitItems
	accepted := &pb.LaneAccepted{LimitItems: r.limit}
	r.run.mu.Unlock()
	if r.stream.Send(&pb.ExchangeResponse{Frame: &pb.ExchangeResponse_Accepted{Accepted: accepted}}) != nil {
		return
	}
	stopSent := false
	for {
		r.run.mu.Lock()
		frame := r.next(&stopSent)
		r.run.mu.Unlock()
		if frame == nil || r.stream.Send(frame) != nil || r.isRefusal(frame) {
			return
		}
	}
}

func (r *receiver) isRefusal(frame *pb.ExchangeResponse) bool {
	r.run.mu.Lock()
	defer r.run.mu.Unlock()
	return r.refusal != nil && frame.GetStop() != nil
}

// next waits for the next frame to the producer; nil: nothing more is to be reported.
func (r *receiver) next(stopSent *bool) *pb.ExchangeResponse {
	e := r.edge
	for {
		half := e.limitItems / 2
		if half < 1 {
			half = 1
		}
		owed := e.taken - r.reported
		outOfCredit := e.arrived-r.reported >= r.limit
		open := !e.ended && !e.stopped
		starved := open && owed > 0 && outOfCredit
		switch {
		case r.over:
			return nil
		case r.refusal != nil:
			return stopFrame(r.refusal.Message, r.refusal)
		case r.beat:
			r.beat = false
			return &pb.ExchangeResponse{}
		case e.stopped && !*stopSent && !e.ended:
			*stopSent = true
			return stopFrame(e.stopReason, e.stopFault)
		case r.halfClosed && (e.buffered() == 0 || *stopSent):
			return nil
		case open && (e.limitItems > r.limit || owed >= half || starved && r.waited):
			r.reported, r.limit, r.waited, r.quiet = e.taken, e.limitItems, false, false
			return &pb.ExchangeResponse{Frame: &pb.ExchangeResponse_Credit{Credit: &pb.LaneCredit{
				TakenItems: e.taken, LimitItems: e.limitItems, AcknowledgedItems: e.taken}}}
		}
		wakeAt := r.reported + half
		if r.holding || r.halfClosed || outOfCredit {
			wakeAt = e.taken + 1
		}
		e.wakeAt = wakeAt
		if starved {
			taken := e.taken
			time.AfterFunc(creditPatience, func() {
				r.run.mu.Lock()
				if e.taken == taken {
					r.waited = true
					e.changed.Broadcast()
				}
				r.run.mu.Unlock()
			})
		}
		e.changed.Wait()
	}
}

func stopFrame(reason string, fault *lanemesh.Error) *pb.ExchangeResponse {
	stop := &pb.LaneStop{Reason: reason}
	if fault != nil {
		stop.Fault = fault.Proto()
	}
	return &pb.ExchangeResponse{Frame: &pb.ExchangeResponse_Stop{Stop: stop}}
}
