package node

import (
	"testing"

	lanemesh "lanemesh/sdk/go"
	pb "lanemesh/sdk/go/lanemeshv1"
)

func piece(text, group string, last bool) *pb.Item {
	item := lanemesh.Text(text)
	if text == "" {
		item = &pb.Item{}
	}
	item.Group = &pb.Group{Id: group, Last: last}
	return item
}

func TestAssemblerKeepsInterleavedGroupsApart(t *testing.T) {
	a := newAssembler(pb.LaneType_LANE_TYPE_TEXT)
	var wholes []string
	for _, item := range []*pb.Item{piece("a", "1", false), piece("x", "2", false), piece("b", "1", true), piece("", "2", true)} {
		whole, _, complete, fault := a.put("edge", item, 1)
		if fault != nil {
			t.Fatal(fault)
		}
		if complete {
			wholes = append(wholes, whole.GetText())
		}
	}
	if len(wholes) != 2 || wholes[0] != "ab" || wholes[1] != "x" || a.items != 0 || a.bytes != 0 {
		t.Fatalf("got %v, %d items of %d bytes are left", wholes, a.items, a.bytes)
	}
}

func TestAssemblerDropsAGroupThatFailed(t *testing.T) {
	a := newAssembler(pb.LaneType_LANE_TYPE_TEXT)
	if _, _, complete, _ := a.put("edge", piece("a", "1", false), 1); complete {
		t.Fatal("a piece is a whole")
	}
	end := piece("", "1", true)
	end.Group.Outcome = pb.GroupOutcome_GROUP_OUTCOME_ERROR
	if _, _, complete, _ := a.put("edge", end, 1); complete || a.items != 0 {
		t.Fatalf("a broken group made a whole, or %d pieces are left", a.items)
	}
}

func TestAssemblerIsBounded(t *testing.T) {
	a := newAssembler(pb.LaneType_LANE_TYPE_TEXT)
	for i := 0; i < maxOpenItems; i++ {
		if _, _, _, fault := a.put("edge", piece("a", "1", false), 1); fault != nil {
			t.Fatal(fault)
		}
	}
	if _, _, _, fault := a.put("edge", piece("a", "1", false), 1); fault == nil || fault.Reason != "whole-too-large" {
		t.Fatalf("got %v", fault)
	}
}

func TestSerializerPassesOneGroupAfterTheOther(t *testing.T) {
	s, first, second := newSerializer(), &edge{id: "1"}, &edge{id: "2"}
	var passed string
	add := func(entries []entry) {
		for _, passing := range entries {
			passed += passing.item.GetText()
		}
	}
	add(s.put(first, piece("a", "g", false), 1))
	add(s.put(second, piece("x", "g", false), 1))
	add(s.put(second, lanemesh.Text("-"), 1))
	add(s.put(second, piece("y", "g", true), 1))
	add(s.put(first, piece("b", "g", true), 1))
	if passed != "abxy-" {
		t.Fatalf("got %s", passed)
	}
	add(s.put(first, piece("c", "h", false), 1))
	add(s.put(second, piece("z", "h", true), 1))
	add(s.end(first))
	if passed != "abxy-cz" {
		t.Fatalf("got %s", passed)
	}
}
