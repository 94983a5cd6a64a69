package node

import pb "lanemesh/sdk/go/lanemeshv1"

// decision is what a firing policy says: take an item of each of these inputs and fire, wait, or end.
type decision struct {
	take       []string
	done       bool
	skippedFor string // the required input that ended without an item
}

// firingPolicy decides when a node fires, from what waits at its connected inputs. The mutex of the run guards it.
type firingPolicy struct {
	names    []string // of the connected inputs, sorted
	ports    map[string]*port
	required map[string]bool
	single   map[string]bool // inputs that get exactly one item
	lockstep bool
	begun    bool // the node has fired
}

// decide returns what follows. A decision to take items counts as carried out.
func (f *firingPolicy) decide() decision {
	decided := decision{}
	if f.lockstep {
		decided = f.zipAll()
	} else {
		decided = f.onAny()
	}
	f.begun = f.begun || len(decided.take) > 0
	return decided
}

// wait returns what the node waits for, if it can neither fire nor end.
func (f *firingPolicy) wait() *pb.ActorWait {
	if !f.lockstep {
		return &pb.ActorWait{AnyInputs: f.names}
	}
	var empty []string
	for _, name := range f.names {
		if f.ports[name].waiting() == 0 && !(f.begun && f.single[name]) {
			empty = append(empty, name)
		}
	}
	return &pb.ActorWait{AllInputs: empty}
}

// onAny decides for a node that fires on every item, with the latest of each other input, once every required input has had one.
func (f *firingPolicy) onAny() decision {
	if !f.begun {
		moment, hasRequired, anyHead := uint64(0), false, false
		for _, name := range f.names {
			p := f.ports[name]
			if f.required[name] && p.ended() {
				return decision{done: true, skippedFor: name}
			}
			anyHead = anyHead || p.waiting() > 0
		}
		for _, name := range f.names {
			if !f.required[name] {
				continue
			}
			hasRequired = true
			p := f.ports[name]
			if p.waiting() == 0 {
				return decision{}
			}
			if number := p.entries[p.head].number; number > moment {
				moment = number
			}
		}
		if !anyHead {
			return decision{done: f.allEnded()}
		}
		if !hasRequired {
			moment = f.firstHead()
		}
		var take []string
		for _, name := range f.names {
			if p := f.ports[name]; p.waiting() > 0 && p.entries[p.head].number <= moment {
				take = append(take, name)
			}
		}
		return decision{take: take}
	}
	first := f.firstHead()
	for _, name := range f.names {
		if p := f.ports[name]; p.waiting() > 0 && p.entries[p.head].number == first {
			return decision{take: []string{name}}
		}
	}
	return decision{done: f.allEnded()}
}

// zipAll decides for a node that fires in lockstep. Inputs that get exactly one item reuse it.
func (f *firingPolicy) zipAll() decision {
	var wanted []string
	for _, name := range f.names {
		if !(f.begun && f.single[name]) {
			wanted = append(wanted, name)
		}
	}
	for _, name := range wanted {
		if f.ports[name].ended() {
			if f.begun {
				name = ""
			}
			return decision{done: true, skippedFor: name}
		}
	}
	if f.begun && len(wanted) == 0 {
		return decision{done: true}
	}
	for _, name := range wanted {
		if f.ports[name].waiting() == 0 {
			return decision{}
		}
	}
	return decision{take: wanted}
}

func (f *firingPolicy) allEnded() bool {
	for _, name := range f.names {
		if !f.ports[name].ended() {
			return false
		}
	}
	return true
}

// firstHead returns the arrival number of the first waiting item.
func (f *firingPolicy) firstHead() uint64 {
	first := uint64(never)
	for _, name := range f.names {
		if p := f.ports[name]; p.waiting() > 0 && p.entries[p.head].number < first {
			first = p.entries[p.head].number
		}
	}
	return first
}
