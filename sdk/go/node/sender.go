package node

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	lanemesh "lanemesh/sdk/go"
	pb "lanemesh/sdk/go/lanemeshv1"
)

const (
	openTimeout   = 10 * time.Second       // from `open` to `accepted`
	abortTimeout  = 500 * time.Millisecond // for an aborted lane to report that
	maxFrameItems = 256
	maxFrameBytes = 255 << 10 // of items; a frame has at most 256 KiB
	chunkBytes    = 1 << 20
	beatInterval  = 10 * time.Second // a heartbeat follows after one to two of them without a frame
)

// sender is a lane to a component on another server: one Exchange call, written by one goroutine and read by another one.
type sender struct {
	run      *hostedRun
	producer *actor
	spec     *pb.Edge
	work     *sync.Cond // for the writer

	queue     []queued
	head      int
	heldBytes int
	sent      uint64 // items offered
	written   uint64
	ceiling   uint64 // items that the credit granted so far permits in total; 0 once stopped
	limit     uint64
	ending    bool
	isStopped bool
	aborted   bool
	isIdle    bool
	outcome   *lanemesh.Error
	fault     *lanemesh.Error
	isBroken  bool // the call broke

	cancel     context.CancelFunc
	accepted   chan struct{} // closed when the consumer has accepted the lane, or the call has ended
	isAccepted bool
	done       chan struct{}
}

type queued struct {
	item *pb.Item
	size int
}

func newSender(run *hostedRun, producer *actor, spec *pb.Edge) *sender {
	return &sender{
		run: run, producer: producer, spec: spec, work: sync.NewCond(&run.mu), limit: spec.GetLimitItems(), cancel: func() {},
		accepted: make(chan struct{}), done: make(chan struct{}),
	}
}

// open dials the consumer and waits until it accepts the lane. It fails with the fault of the lane.
func (s *sender) open(ctx context.Context) *lanemesh.Error {
	connection, err := s.run.server.pool.acquire(s.spec.GetConsumerAddress())
	if err != nil {
		s.finish(codes.Unavailable, err.Error())
		return s.lockedFault()
	}
	callCtx, cancel := context.WithCancel(context.Background())
	s.run.mu.Lock()
	s.cancel = cancel
	s.run.mu.Unlock()
	stream, err := pb.NewNodeServiceClient(connection.conn).Exchange(callCtx)
	if err == nil {
		err = stream.Send(&pb.ExchangeRequest{Frame: &pb.ExchangeRequest_Open{Open: &pb.LaneOpen{
			RunId:           s.run.place.GetRunId(),
			EdgeId:          s.spec.GetId(),
			LaneType:        s.spec.GetLaneType(),
			ProtocolVersion: lanemesh.ProtocolVersion,
			Incarnation:     s.spec.GetIncarnation(),
			Traceparent:     s.run.place.GetTraceparent(),
			LaneKey:         s.run.place.GetLaneKey(),
		}}})
	}
	if err != nil && err != io.EOF {
		cancel()
		s.run.server.pool.release(connection)
		failed, _ := status.FromError(err)
		s.finish(failed.Code(), failed.Message())
		return s.lockedFault()
	}
	writing := make(chan struct{})
	go func() {
		s.write(stream)
		close(writing)
	}()
	go func() {
		s.read(stream)
		cancel()
		<-writing
		s.run.server.pool.release(connection)
		close(s.done)
	}()
	timer := time.NewTimer(openTimeout)
	defer timer.Stop()
	select {
	case <-s.accepted:
	case <-ctx.Done():
		s.run.mu.Lock()
		s.breakLane(codes.Canceled, "the run was cancelled")
		s.run.mu.Unlock()
		cancel()
	case <-timer.C:
		s.run.mu.Lock()
		s.breakLane(codes.DeadlineExceeded, fmt.Sprintf("the consumer did not accept it within %s", openTimeout))
		s.run.mu.Unlock()
		cancel()
	}
	return s.lockedFault()
}

func (s *sender) lockedFault() *lanemesh.Error {
	s.run.mu.Lock()
	defer s.run.mu.Unlock()
	return s.fault
}

// finish ends a lane whose call was never made.
func (s *sender) finish(code codes.Code, why string) {
	s.run.mu.Lock()
	s.breakLane(code, why)
	s.run.mu.Unlock()
	close(s.done)
}

func (s *sender) id() string { return s.spec.GetId() }

func (s *sender) offer(item *pb.Item, size int) bool {
	if s.sent >= s.ceiling || s.heldBytes >= int(s.spec.GetLimitBytes()) {
		return false
	}
	s.sent++
	s.heldBytes += size
	s.queue = append(s.queue, queued{item, size})
	if s.isIdle {
		s.isIdle = false
		s.work.Signal()
	}
	return true
}

func (s *sender) end(fault *lanemesh.Error) {
	if s.ending {
		return
	}
	s.ending, s.outcome = true, fault
	s.work.Signal()
}

func (s *sender) abort(fault *lanemesh.Error) {
	s.aborted = true
	if len(s.queue) > s.head {
		s.outcome = fault // although its producer may have ended the lane: the items dropped here were part of it
	}
	s.drop()
	s.end(fault)
	s.stop()
	time.AfterFunc(abortTimeout, s.cancel)
}

func (s *sender) stopped() bool { return s.isStopped || s.ending }

func (s *sender) broken() *lanemesh.Error { return s.fault }

func (s *sender) closed() <-chan struct{} { return s.done }

func (s *sender) report() *pb.EdgeReport {
	taken := uint64(0)
	if s.ceiling > s.limit {
		taken = s.ceiling - s.limit
	}
	return &pb.EdgeReport{
		EdgeId:      s.spec.GetId(),
		ProducerEnd: true,
		Items:       s.sent,
		TakenItems:  taken,
		LimitItems:  s.limit,
		HeldBytes:   uint64(s.heldBytes),
		LimitBytes:  s.spec.GetLimitBytes(),
		Ended:       s.stopped(),
	}
}

func (s *sender) drop() { s.queue, s.head, s.heldBytes = nil, 0, 0 }

func (s *sender) stop() {
	s.isStopped, s.ceiling = true, 0
	s.producer.laneStopped()
}

// write sends what is queued, in frames that take all that has come meanwhile, then the end.
func (s *sender) write(stream pb.NodeService_ExchangeClient) {
	ticker := time.NewTicker(beatInterval)
	defer ticker.Stop()
	stopBeat, beat, quiet := make(chan struct{}), false, true
	defer close(stopBeat)
	go func() {
		for {
			select {
			case <-ticker.C:
				s.run.mu.Lock()
				beat, quiet = quiet, true
				s.work.Signal()
				s.run.mu.Unlock()
			case <-stopBeat:
				return
			}
		}
	}()
	for {
		s.run.mu.Lock()
		for len(s.queue) == s.head && !s.ending && !beat {
			s.isIdle = true
			s.work.Wait()
		}
		s.isIdle, quiet = false, false
		if len(s.queue) > s.head {
			frame, size, leading := s.nextFrame()
			s.run.mu.Unlock()
			for _, part := range leading {
				chunk := &pb.ExchangeRequest{Frame: &pb.ExchangeRequest_Chunk{Chunk: &pb.LaneChunk{Content: part}}}
				if stream.Send(chunk) != nil {
					return
				}
			}
			if stream.Send(frame) != nil {
				return // the reader reports how the call has ended
			}
			s.run.mu.Lock()
			if s.heldBytes -= size; s.heldBytes < 0 {
				s.heldBytes = 0 // the lane was stopped meanwhile
			}
			s.producer.changed.Broadcast()
			s.run.mu.Unlock()
			continue
		}
		if s.ending {
			end := &pb.LaneEnd{ItemCount: s.written}
			if s.outcome != nil {
				end.Outcome = s.outcome.Proto()
			}
			s.run.mu.Unlock()
			if stream.Send(&pb.ExchangeRequest{Frame: &pb.ExchangeRequest_End{End: end}}) == nil {
				_ = stream.CloseSend()
			}
			return
		}
		beat = false
		s.run.mu.Unlock()
		if stream.Send(&pb.ExchangeRequest{}) != nil {
			return
		}
	}
}

// nextFrame takes the items of one frame from the queue. A large media value begins a frame of its own, after its leading parts.
func (s *sender) nextFrame() (frame *pb.ExchangeRequest, size int, leading [][]byte) {
	most := int(s.limit / 2) // so that one frame is in flight while the next one fills
	if most < 1 {
		most = 1
	}
	if most > maxFrameItems {
		most = maxFrameItems
	}
	items := make([]*pb.Item, 0, min(most, len(s.queue)-s.head))
	bytes := 0
	for s.head < len(s.queue) && len(items) < most {
		next := s.queue[s.head]
		media := lanemesh.MediaOf(next.item)
		isLarge := len(media.GetContent()) > chunkBytes
		if len(items) > 0 && (isLarge || bytes+next.size > maxFrameBytes) {
			break
		}
		item := next.item
		if isLarge {
			item, leading = lastPart(item, media)
		}
		s.queue[s.head] = queued{}
		s.head++
		bytes += next.size
		size += next.size
		items = append(items, item)
	}
	if s.head == len(s.queue) {
		s.queue, s.head = s.queue[:0], 0
	}
	s.written += uint64(len(items))
	return &pb.ExchangeRequest{Frame: &pb.ExchangeRequest_Items{Items: &pb.LaneItems{Items: items}}}, size, leading
}

// read takes the frames of the consumer until the call has ended.
func (s *sender) read(stream pb.NodeService_ExchangeClient) {
	for {
		response, err := stream.Recv()
		s.run.mu.Lock()
		if err == nil {
			s.onFrame(response)
			s.run.mu.Unlock()
			continue
		}
		if err != io.EOF {
			failed, _ := status.FromError(err)
			s.breakLane(failed.Code(), failed.Message())
		} else if !s.ending {
			s.breakLane(codes.Internal, "the consumer ended the call before the lane")
		}
		s.ending = true
		s.stop()
		s.accept()
		s.work.Signal()
		s.run.mu.Unlock()
		return
	}
}

func (s *sender) accept() {
	if !s.isAccepted {
		s.isAccepted = true
		close(s.accepted)
	}
}

func (s *sender) onFrame(response *pb.ExchangeResponse) {
	switch frame := response.GetFrame().(type) {
	case *pb.ExchangeResponse_Accepted:
		if !s.isStopped {
			s.limit = frame.Accepted.GetLimitItems()
			if s.limit < 1 {
				s.limit = 1
			}
			s.ceiling = s.limit
		}
		s.accept()
	case *pb.ExchangeResponse_Credit:
		if s.isStopped {
			return
		}
		if frame.Credit.GetLimitItems() > s.limit {
			s.limit = frame.Credit.GetLimitItems()
		}
		if ceiling := frame.Credit.GetTakenItems() + s.limit; ceiling > s.ceiling {
			s.ceiling = ceiling
		}
	case *pb.ExchangeResponse_Stop:
		if fault := lanemesh.FromProto(frame.Stop.GetFault()); fault != nil && s.fault == nil {
			s.fault = fault.AsSecondary().Located("lane", s.spec.GetId())
		}
		s.drop()
		s.end(nil)
		s.stop()
		s.accept()
	}
	s.producer.changed.Broadcast()
}

// breakLane notes that the call broke, or could not be made. Only the first fault counts.
func (s *sender) breakLane(code codes.Code, why string) {
	if s.fault == nil && !s.aborted {
		what, reason := "broke", "lane-broken"
		if !s.isAccepted {
			what, reason = "could not be opened", "lane-refused"
		}
		if code == codes.Unknown || code == codes.Internal || code == codes.Canceled {
			code = codes.Unavailable
		}
		s.isBroken = true
		s.fault = laneFault(code, reason, s.spec.GetId(), fmt.Sprintf(
			"the lane %s to %s %s: %s", s.spec.GetId(), s.spec.GetConsumerAddress(), what, why)).Located("address", s.spec.GetConsumerAddress())
	}
	s.ending = true
	s.drop()
	s.stop()
	s.work.Signal()
}

func min(a, b int) int {
	if a < b {
		return a
	}
	return b
}
