package node

import (
	lanemesh "lanemesh/sdk/go"
	pb "lanemesh/sdk/go/lanemeshv1"
)

// lane is the producer end of an edge. The mutex of the run guards it.
type lane interface {
	id() string
	// offer sends an item if there is capacity for it.
	offer(item *pb.Item, size int) bool
	// end ends the lane after its queued items, cleanly or with a fault.
	end(fault *lanemesh.Error)
	// abort drops the queued items and ends the lane with a fault.
	abort(fault *lanemesh.Error)
	// stopped tells whether the lane accepts no more items.
	stopped() bool
	// broken returns the fault of the consumer or of the connection.
	broken() *lanemesh.Error
	// closed is closed when every item was taken or discarded, or the lane broke.
	closed() <-chan struct{}
	report() *pb.EdgeReport
}

// localLane is a lane to a component on this server.
type localLane struct {
	edge  *edge
	sent  uint64
	ended bool
	done  chan struct{}
}

func newLocalLane(e *edge, producer *actor) *localLane {
	e.opened, e.local = true, producer
	done := make(chan struct{})
	close(done)
	return &localLane{edge: e, done: done}
}

func (l *localLane) id() string { return l.edge.id }

func (l *localLane) offer(item *pb.Item, size int) bool {
	if l.edge.full() {
		l.edge.wakeAt = l.edge.taken + 1
		return false
	}
	l.sent++
	l.edge.put(item, size)
	return true
}

func (l *localLane) end(fault *lanemesh.Error) {
	l.ended = true
	if fault != nil {
		fault = fault.AsSecondary()
	}
	l.edge.end(fault)
}

func (l *localLane) abort(fault *lanemesh.Error) { l.end(fault) }

func (l *localLane) stopped() bool { return l.edge.stopped || l.ended }

func (l *localLane) broken() *lanemesh.Error { return l.edge.stopFault }

func (l *localLane) closed() <-chan struct{} { return l.done }

func (l *localLane) report() *pb.EdgeReport {
	return &pb.EdgeReport{
		EdgeId:      l.edge.id,
		ProducerEnd: true,
		Items:       l.sent,
		TakenItems:  l.edge.taken,
		LimitItems:  l.edge.limitItems,
		HeldBytes:   uint64(l.edge.bufferedBytes),
		LimitBytes:  uint64(l.edge.limitBytes),
		Ended:       l.ended || l.edge.stopped,
	}
}
