package node

import (
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	lanemesh "lanemesh/sdk/go"
	pb "lanemesh/sdk/go/lanemeshv1"
)

const (
	maxOpenItems     = 100_000   // most pieces of incomplete wholes that an input holds
	maxOpenBytes     = 64 << 20  // most bytes of them,
	maxOpenFileBytes = 256 << 20 // and of media and documents
	maxMediaBytes    = 256 << 20 // most bytes of one media value
)

// assembler makes wholes of the pieces of groups. Groups may be interleaved; an edge and an id identify a group.
type assembler struct {
	maxBytes int
	items    int
	bytes    int
	open     map[string]map[string]*whole
}

type whole struct {
	pieces []*pb.Item
	number int // of pieces, with those that have no value
	size   int
}

func newAssembler(lane pb.LaneType) *assembler {
	limit := maxOpenBytes
	switch lane {
	case pb.LaneType_LANE_TYPE_DOCUMENTS, pb.LaneType_LANE_TYPE_IMAGE, pb.LaneType_LANE_TYPE_AUDIO, pb.LaneType_LANE_TYPE_VIDEO:
		limit = maxOpenFileBytes
	}
	return &assembler{maxBytes: limit, open: map[string]map[string]*whole{}}
}

// put adds a piece. It returns the whole that the piece completes. An item without a group is a whole by itself. A group that ended with
// an error or a cancellation makes no whole.
func (a *assembler) put(source string, item *pb.Item, size int) (made *pb.Item, madeSize int, complete bool, fault *lanemesh.Error) {
	group := item.GetGroup()
	if group == nil {
		return item, size, item.GetPayload() != nil, nil
	}
	groups := a.open[source]
	if groups == nil {
		groups = map[string]*whole{}
		a.open[source] = groups
	}
	w := groups[group.GetId()]
	if w == nil {
		w = &whole{}
		groups[group.GetId()] = w
	}
	if item.GetPayload() != nil {
		w.pieces = append(w.pieces, item)
	}
	w.number++
	w.size += size
	a.items++
	a.bytes += size
	if !group.GetLast() {
		if a.items > maxOpenItems || a.bytes > a.maxBytes {
			return nil, 0, false, &lanemesh.Error{Code: codes.ResourceExhausted, Reason: "whole-too-large", Message: fmt.Sprintf(
				"the input holds %d pieces and %d bytes of incomplete wholes; its limit is %d pieces and %d bytes. Send smaller wholes",
				a.items, a.bytes, maxOpenItems, a.maxBytes)}
		}
		return nil, 0, false, nil
	}
	delete(groups, group.GetId())
	a.forget(w)
	if group.GetOutcome() != pb.GroupOutcome_GROUP_OUTCOME_UNSPECIFIED || len(w.pieces) == 0 {
		return nil, 0, false, nil
	}
	made, fault = joined(w.pieces)
	return made, w.size, fault == nil, fault
}

// end returns the open wholes of a source that has ended cleanly, and drops those of another one.
func (a *assembler) end(source string, clean bool) (items []*pb.Item, sizes []int, fault *lanemesh.Error) {
	groups := a.open[source]
	delete(a.open, source)
	for _, w := range groups {
		a.forget(w)
		if !clean || len(w.pieces) == 0 {
			continue
		}
		item, err := joined(w.pieces)
		if err != nil {
			return nil, nil, err
		}
		items, sizes = append(items, item), append(sizes, w.size)
	}
	return items, sizes, nil
}

func (a *assembler) drop(source string) {
	for _, w := range a.open[source] {
		a.forget(w)
	}
	delete(a.open, source)
}

func (a *assembler) forget(w *whole) {
	a.items -= w.number
	a.bytes -= w.size
}

// joined returns the whole of pieces, at least one: the first one with the contents of the others.
func joined(pieces []*pb.Item) (*pb.Item, *lanemesh.Error) {
	if len(pieces) == 1 {
		single := proto.Clone(pieces[0]).(*pb.Item)
		single.Group = nil
		return single, nil
	}
	made := proto.Clone(pieces[0]).(*pb.Item)
	made.Group = nil
	for _, piece := range pieces[1:] {
		for key, value := range piece.GetMetadata() {
			if made.Metadata == nil {
				made.Metadata = map[string]string{}
			}
			made.Metadata[key] = value
		}
	}
	switch first := made.GetPayload().(type) {
	case *pb.Item_Text:
		first.Text = concatenated(pieces, func(piece *pb.Item) string { return piece.GetText() })
	case *pb.Item_Answer:
		first.Answer.Text = concatenated(pieces, func(piece *pb.Item) string { return piece.GetAnswer().GetText() })
		first.Answer.ToolCalls = nil
		for _, piece := range pieces {
			answer := piece.GetAnswer()
			first.Answer.ToolCalls = append(first.Answer.ToolCalls, answer.GetToolCalls()...)
			if answer.GetDataJson() != "" {
				first.Answer.DataJson = answer.GetDataJson()
			}
			if answer.GetUsage() != nil {
				first.Answer.Usage = answer.GetUsage()
			}
			if answer.GetFinishReason() != "" {
				first.Answer.FinishReason = answer.GetFinishReason()
			}
		}
	case *pb.Item_Document:
		first.Document.Content = concatenated(pieces, func(piece *pb.Item) string { return piece.GetDocument().GetContent() })
		first.Document.ChunkIndex, first.Document.Embedding, first.Document.Score = nil, nil, nil
		if first.Document.File != nil {
			first.Document.File.Content = contents(pieces)
		}
	case *pb.Item_Image, *pb.Item_Audio, *pb.Item_Video:
		media := lanemesh.MediaOf(made)
		if media.GetUri() != "" {
			return nil, badWhole("pieces with a URI")
		}
		media.Content = contents(pieces)
	default:
		return nil, badWhole("pieces of this lane type")
	}
	return made, nil
}

func concatenated(pieces []*pb.Item, text func(*pb.Item) string) string {
	var all []byte
	for _, piece := range pieces {
		all = append(all, text(piece)...)
	}
	return string(all)
}

func contents(pieces []*pb.Item) []byte {
	var all []byte
	for _, piece := range pieces {
		all = append(all, lanemesh.MediaOf(piece).GetContent()...)
	}
	return all
}

func badWhole(what string) *lanemesh.Error {
	return &lanemesh.Error{Code: codes.InvalidArgument, Reason: "bad-whole", Message: what + " cannot be assembled"}
}

// serializer passes the groups at an input one after the other, in the order in which they began. While a group is open, other groups
// and items without one are parked; they count as waiting on their edges.
type serializer struct {
	current *groupKey
	turns   []*turn
	open    map[groupKey]*turn
}

type groupKey struct {
	edge *edge
	id   string
}

type turn struct {
	edge    *edge
	key     *groupKey
	entries []entry
	over    bool
}

func newSerializer() *serializer { return &serializer{open: map[groupKey]*turn{}} }

// put adds an item. It returns the items that pass now.
func (s *serializer) put(e *edge, item *pb.Item, size int) []entry {
	var key *groupKey
	over := true
	if group := item.GetGroup(); group != nil {
		key, over = &groupKey{e, group.GetId()}, group.GetLast()
	}
	passing := entry{edge: e, item: item, size: size}
	switch {
	case s.current == nil:
		if !over {
			s.current = key
		}
		return []entry{passing}
	case key != nil && *key == *s.current:
		if over {
			return append([]entry{passing}, s.next()...)
		}
		return []entry{passing}
	}
	var parked *turn
	if key != nil {
		parked = s.open[*key]
	}
	if parked == nil {
		parked = &turn{edge: e, key: key, over: over}
		s.turns = append(s.turns, parked)
		if key != nil {
			s.open[*key] = parked
		}
	}
	parked.entries = append(parked.entries, passing)
	if over && key != nil {
		parked.over = true
		delete(s.open, *key)
	}
	return nil
}

// end ends the groups of an edge. It returns the items that pass now.
func (s *serializer) end(e *edge) []entry {
	for key, parked := range s.open {
		if key.edge == e {
			parked.over = true
			delete(s.open, key)
		}
	}
	if s.current != nil && s.current.edge == e {
		return s.next()
	}
	return nil
}

// drop discards the parked items of an edge, and ends its groups. It returns the items of other edges that pass now.
func (s *serializer) drop(e *edge) []entry {
	var kept []*turn
	for _, parked := range s.turns {
		if parked.edge != e {
			kept = append(kept, parked)
		}
	}
	s.turns = kept
	return s.end(e)
}

// next ends the current group.
func (s *serializer) next() []entry {
	s.current = nil
	var passing []entry
	for len(s.turns) > 0 && s.current == nil {
		first := s.turns[0]
		s.turns = s.turns[1:]
		passing = append(passing, first.entries...)
		if !first.over && first.key != nil {
			s.current = first.key
			delete(s.open, *first.key)
		}
	}
	return passing
}
