package node

import (
	"fmt"
	"math"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	lanemesh "lanemesh/sdk/go"
	pb "lanemesh/sdk/go/lanemeshv1"
)

const (
	itemOverhead = 16 // bytes that an item counts besides its message
	never        = math.MaxUint64
)

func sizeOf(item *pb.Item) int { return proto.Size(item) + itemOverhead }

// edge is the consumer end of one lane. The mutex of the run guards it.
type edge struct {
	id         string
	laneType   pb.LaneType
	port       *port
	limitItems uint64
	limitBytes int

	arrived, taken, discarded uint64
	bufferedBytes             int
	ended, stopped            bool
	fault                     *lanemesh.Error // of the producer
	stopReason                string
	stopFault                 *lanemesh.Error

	opened  bool
	changed *sync.Cond // for the ends of the lane: items were taken, or the edge was stopped or grown
	wakeAt  uint64     // number of taken items at which they are woken
	local   *actor     // the producer, if it is on this server
}

func (e *edge) buffered() uint64 { return e.arrived - e.taken - e.discarded }

func (e *edge) full() bool {
	return e.buffered() >= e.limitItems || e.bufferedBytes >= e.limitBytes
}

// put adds an item that has arrived.
func (e *edge) put(item *pb.Item, size int) {
	e.arrived++
	if e.stopped {
		e.discarded++
		return
	}
	e.bufferedBytes += size
	e.port.put(e, item, size)
}

// took counts an item that the node has taken.
func (e *edge) took(size int) {
	e.taken++
	e.bufferedBytes -= size
	if e.taken >= e.wakeAt {
		e.wakeAt = never
		e.notify()
	}
}

func (e *edge) notify() {
	e.changed.Broadcast()
	if e.local != nil {
		e.local.changed.Broadcast()
	}
}

// end notes that the producer has ended the edge, cleanly or with a fault. Only the first end counts.
func (e *edge) end(fault *lanemesh.Error) {
	if e.ended {
		return
	}
	e.ended, e.fault = true, fault
	if !e.stopped {
		if fault != nil && e.port.fault == nil {
			e.port.fault = fault
		}
		e.port.edgeEnded(e)
	}
	e.port.actor.changed.Broadcast()
	e.notify()
}

// stop takes no more items: those that wait are discarded, and the producer is notified. It acts once.
func (e *edge) stop(reason string, fault *lanemesh.Error) {
	if e.stopped {
		return
	}
	e.stopped, e.stopReason, e.stopFault = true, reason, fault
	e.discarded += e.buffered()
	e.bufferedBytes = 0
	e.port.edgeStopped(e)
	e.port.actor.changed.Broadcast()
	e.notify()
	if e.local != nil {
		e.local.laneStopped()
	}
}

func (e *edge) grow(items, bytes uint64) {
	if items > e.limitItems {
		e.limitItems = items
	}
	if int(bytes) > e.limitBytes {
		e.limitBytes = int(bytes)
	}
	e.notify()
}

type entry struct {
	number uint64 // of arrival at the component
	edge   *edge
	item   *pb.Item
	size   int
}

// port is one input of a component: the items of all its edges, in the order of arrival.
type port struct {
	name    string
	actor   *actor
	edges   []*edge
	entries []entry
	head    int
	fault   *lanemesh.Error // the first one of a producer
	failure *lanemesh.Error // of the port itself
	wholes  *assembler      // of an assembled input
	order   *serializer     // of an input that takes one group after the other
}

func (p *port) waiting() int { return len(p.entries) - p.head }

func (p *port) put(e *edge, item *pb.Item, size int) {
	switch {
	case p.wholes != nil:
		p.assemble(e, item, size)
	case p.order != nil:
		for _, passing := range p.order.put(e, item, size) {
			p.enqueue(passing.edge, passing.item, passing.size)
		}
	default:
		p.enqueue(e, item, size)
	}
}

func (p *port) enqueue(e *edge, item *pb.Item, size int) {
	p.actor.arrivals++
	if p.head > 0 && p.head == len(p.entries) {
		p.entries, p.head = p.entries[:0], 0
	}
	p.entries = append(p.entries, entry{p.actor.arrivals, e, item, size})
	p.actor.changed.Broadcast()
}

// take takes the first waiting item; there is one.
func (p *port) take() *pb.Item {
	first := p.entries[p.head]
	p.entries[p.head] = entry{}
	p.head++
	if p.head > 1024 && p.head*2 > len(p.entries) {
		p.entries, p.head = append(p.entries[:0], p.entries[p.head:]...), 0
	}
	first.edge.took(first.size)
	return first.item
}

// ended tells whether every edge has ended or was stopped, and no item waits.
func (p *port) ended() bool {
	if p.waiting() > 0 {
		return false
	}
	for _, e := range p.edges {
		if !e.ended && !e.stopped {
			return false
		}
	}
	return true
}

// broken returns the fault that ends the node at its next read; nil if there is none.
func (p *port) broken() *lanemesh.Error {
	if p.failure != nil {
		return p.failure
	}
	if p.fault != nil {
		return p.fault.AsSecondary().Located("port", p.name)
	}
	return nil
}

// assemble adds a piece. Pieces count as taken when they arrive, a whole as one item until it is taken.
func (p *port) assemble(e *edge, item *pb.Item, size int) {
	whole, wholeSize, complete, err := p.wholes.put(e.id, item, size)
	if err != nil {
		p.fail(err)
		return
	}
	if !complete {
		e.took(size)
		return
	}
	e.bufferedBytes += wholeSize - size
	p.enqueue(e, whole, wholeSize)
}

func (p *port) edgeEnded(e *edge) {
	if p.wholes != nil {
		items, sizes, err := p.wholes.end(e.id, e.fault == nil)
		if err != nil {
			p.fail(err)
			return
		}
		for i, whole := range items {
			e.taken-- // the last piece had counted as taken
			e.bufferedBytes += sizes[i]
			p.enqueue(e, whole, sizes[i])
		}
	}
	if p.order != nil {
		for _, passing := range p.order.end(e) {
			p.enqueue(passing.edge, passing.item, passing.size)
		}
	}
}

func (p *port) edgeStopped(e *edge) {
	kept := p.entries[:0]
	for _, waiting := range p.entries[p.head:] {
		if waiting.edge != e {
			kept = append(kept, waiting)
		}
	}
	p.entries, p.head = kept, 0
	if p.wholes != nil {
		p.wholes.drop(e.id)
	}
	if p.order != nil {
		for _, passing := range p.order.drop(e) {
			p.enqueue(passing.edge, passing.item, passing.size)
		}
	}
}

// fail ends the port: its producers are stopped, and the node fails at its next read.
func (p *port) fail(fault *lanemesh.Error) {
	if p.failure == nil {
		p.failure = fault.Located("port", p.name)
	}
	for _, e := range p.edges {
		e.stop(fault.Message, fault.AsSecondary())
	}
}

func laneFault(code codes.Code, reason, lane, message string) *lanemesh.Error {
	return &lanemesh.Error{Code: code, Reason: reason, Message: message, Details: map[string]string{"lane": lane}, Secondary: true}
}

func brokenLane(code codes.Code, lane, why string) *lanemesh.Error {
	return laneFault(code, "lane-broken", lane, fmt.Sprintf("the lane %s broke: %s", lane, why))
}
