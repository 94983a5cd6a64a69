package node

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"time"

	"google.golang.org/grpc/codes"

	lanemesh "lanemesh/sdk/go"
	pb "lanemesh/sdk/go/lanemeshv1"
)

const maxBackoff = time.Hour

// firing is one call of a Process or Generate node.
type firing struct {
	number  uint64
	latest  map[string]*pb.Item
	group   *pb.Group            // of the only taken item that has one
	pieces  map[string]*pb.Group // the latest piece by output, of a Generate node
	sent    map[string]bool
	emitted bool
}

// fireAll fires until no further firing is possible. It returns why the node never fired, if that is so.
func (a *actor) fireAll(ctx context.Context) (skipped string, err error) {
	var connected []string
	for _, name := range a.order {
		if len(a.ports[name].edges) > 0 {
			connected = append(connected, name)
		} else if a.required[name] {
			return fmt.Sprintf("the input %q is not connected", name), nil
		}
	}
	latest := map[string]*pb.Item{}
	if len(connected) == 0 {
		return "", a.perform(ctx, latest, nil)
	}
	sort.Strings(connected)
	policy := &firingPolicy{names: connected, ports: a.ports, required: a.required, single: a.single, lockstep: a.lockstep}
	in := &In{a: a, ctx: ctx}
	for {
		a.run.mu.Lock()
		next, ended, err := a.nextFiring(in, policy)
		if err != nil || ended.done {
			skipped := ""
			if ended.skippedFor != "" {
				skipped = a.whySkipped(ended.skippedFor)
			}
			a.run.mu.Unlock()
			return skipped, err
		}
		var group *pb.Group
		groups := 0
		for name, item := range next {
			latest[name] = item
			if item.GetGroup() != nil {
				group = item.GetGroup()
				groups++
			}
		}
		a.run.mu.Unlock()
		if groups != 1 {
			group = nil
		}
		if err := a.perform(ctx, latest, group); err != nil {
			return "", err
		}
	}
}

// nextFiring waits for the items of the next firing and takes them. The ends of groups that arrive are passed on.
func (a *actor) nextFiring(in *In, policy *firingPolicy) (map[string]*pb.Item, decision, error) {
	for {
		if err := in.interrupted(); err != nil {
			return nil, decision{}, err
		}
		if passed, err := a.passEnds(in, policy.names); err != nil {
			return nil, decision{}, err
		} else if passed {
			continue
		}
		decided := policy.decide()
		if decided.done || len(decided.take) == 0 {
			for _, name := range policy.names { // a fault counts once the items before it were taken
				if fault := a.ports[name].broken(); fault != nil && (a.ports[name].waiting() == 0 || decided.done) {
					return nil, decision{}, fault
				}
			}
		}
		if decided.done {
			return nil, decided, nil
		}
		if len(decided.take) > 0 {
			taken := map[string]*pb.Item{}
			for _, name := range decided.take {
				taken[name] = a.ports[name].take()
			}
			return taken, decided, nil
		}
		a.wait(policy.wait())
	}
}

// passEnds takes the items without a value that wait first, and passes on the ends of groups that they carry.
func (a *actor) passEnds(in *In, names []string) (bool, error) {
	for _, name := range names {
		p := a.ports[name]
		if p.waiting() == 0 || p.entries[p.head].item.GetPayload() != nil {
			continue
		}
		group := p.take().GetGroup()
		if group == nil {
			return true, nil
		}
		return true, a.passGroup(in, group, nil)
	}
	return false, nil
}

func (a *actor) whySkipped(input string) string {
	detail := fmt.Sprintf("the required input %q ended without an item", input)
	for _, name := range a.order {
		if waiting := a.ports[name].waiting(); waiting > 0 {
			detail += fmt.Sprintf("; items that waited: %d on %s", waiting, name)
		}
	}
	return detail
}

// perform executes a firing. It returns the error of the body, unless the policy of the component drops or repeats the firing.
func (a *actor) perform(ctx context.Context, latest map[string]*pb.Item, group *pb.Group) error {
	a.run.mu.Lock()
	a.firings++
	number := a.firings
	a.run.mu.Unlock()
	policy := a.instance.GetOnError()
	for attempt := uint32(1); ; attempt++ {
		f := &firing{number: number, latest: latest, group: group, pieces: map[string]*pb.Group{}, sent: map[string]bool{}}
		err := a.called(ctx, f)
		a.run.mu.Lock()
		closing := a.closeFiring(&In{a: a, ctx: ctx, firing: f}, f, err)
		a.run.mu.Unlock()
		if err == nil {
			return closing
		}
		var fault *lanemesh.Error
		isLane := errors.As(err, &fault) && fault.Secondary
		if isLane || errors.Is(err, ErrStopped) || ctx.Err() != nil {
			return err
		}
		switch {
		case policy.GetPolicy() == pb.OnError_POLICY_RETRY && attempt < policy.GetAttempts() && !f.emitted:
			a.run.mu.Lock()
			a.retried++
			a.run.mu.Unlock()
			a.run.log(a, pb.LogLevel_LOG_LEVEL_WARNING, fmt.Sprintf("firing %d failed, attempt %d begins: %s", number, attempt+1, err))
			pause := policy.GetBackoff().AsDuration() << (attempt - 1)
			if pause > maxBackoff || pause < 0 {
				pause = maxBackoff
			}
			select {
			case <-time.After(pause):
			case <-ctx.Done():
				return ctx.Err()
			}
			continue
		case policy.GetPolicy() == pb.OnError_POLICY_SKIP:
			a.run.mu.Lock()
			a.skipped++
			a.run.mu.Unlock()
			a.run.log(a, pb.LogLevel_LOG_LEVEL_WARNING, fmt.Sprintf("firing %d failed and was skipped: %s", number, err))
			return closing
		}
		return err
	}
}

// called calls the body once, within the time limit of a firing.
func (a *actor) called(ctx context.Context, f *firing) error {
	limit := a.instance.GetTimeout()
	if limit == nil {
		return safely(func() error { return a.node.Call(ctx, &In{a: a, ctx: ctx, firing: f}) })
	}
	return a.within(ctx, limit.AsDuration(), func(ctx context.Context) error {
		return a.node.Call(ctx, &In{a: a, ctx: ctx, firing: f})
	})
}

// within calls a body with a time limit. A body that goes on for 5 s after it is abandoned.
func (a *actor) within(ctx context.Context, limit time.Duration, body func(context.Context) error) error {
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	go a.wakeAtEnd(limited)
	ended := make(chan error, 1)
	go func() { ended <- safely(func() error { return body(limited) }) }()
	var err error
	select {
	case err = <-ended:
	case <-limited.Done():
		select {
		case err = <-ended:
		case <-time.After(overdueGrace):
			err = limited.Err()
		}
	}
	if err != nil && limited.Err() == context.DeadlineExceeded && ctx.Err() == nil {
		return &lanemesh.Error{Code: codes.DeadlineExceeded, Reason: "timeout", Message: fmt.Sprintf(
			"%s took longer than its timeout of %s", a.instance.GetComponent(), limit)}
	}
	return err
}

// grouped marks an item as a piece: of the group that the firing passes on, or of the one that it opens.
func (a *actor) grouped(f *firing, out *output, item *pb.Item) *pb.Item {
	if item.Group != nil {
		return item
	}
	var group *pb.Group
	switch {
	case a.typ.Kind == Process:
		group = f.group
	case out.pieces:
		last := item.GetAnswer().GetFinishReason() != ""
		previous := f.pieces[out.name]
		switch {
		case previous == nil:
			group = &pb.Group{Id: fmt.Sprintf("%s.%s.%d", a.instance.GetComponent(), out.name, f.number), Last: last}
		case previous.Last:
			group = &pb.Group{Id: previous.Id + "+", Last: last}
		default:
			group = &pb.Group{Id: previous.Id, Index: previous.Index + 1, Last: last}
		}
		f.pieces[out.name] = group
	}
	if group == nil {
		return item
	}
	return &pb.Item{Payload: item.Payload, Group: group, Lineage: item.Lineage, Metadata: item.Metadata, CreatedAt: item.CreatedAt}
}

// closeFiring ends the groups that a firing has opened, and notes the piece that it has passed on.
func (a *actor) closeFiring(in *In, f *firing, failure error) error {
	for name, group := range f.pieces {
		if !group.Last {
			if err := a.endGroup(in, name, group, outcomeOf(failure)); err != nil {
				return err
			}
		}
	}
	if a.typ.Kind == Process && f.group != nil {
		return a.passGroup(in, f.group, f.sent)
	}
	return nil
}

// passGroup notes that a piece was taken and sent by some outputs. After the last piece, the outputs that sent earlier pieces and not
// this one get the end of the group.
func (a *actor) passGroup(in *In, group *pb.Group, sent map[string]bool) error {
	for name := range sent {
		if a.kept[name] == nil {
			a.kept[name] = map[string]*pb.Group{}
		}
		a.kept[name][group.GetId()] = group
	}
	if !group.GetLast() {
		return nil
	}
	for name, groups := range a.kept {
		if _, open := groups[group.GetId()]; open {
			delete(groups, group.GetId())
			if !sent[name] {
				if err := in.send(a.outputs[name], &pb.Item{Group: group}); err != nil && err != ErrStopped {
					return err
				}
			}
		}
	}
	return nil
}

// endGroup sends the end of a group. If the node has failed it waits for no capacity: the fault that ends the lane has the same effect.
func (a *actor) endGroup(in *In, name string, group *pb.Group, outcome pb.GroupOutcome) error {
	end := &pb.Item{Group: &pb.Group{Id: group.GetId(), Index: group.GetIndex() + 1, Last: true, Outcome: outcome}}
	if outcome != pb.GroupOutcome_GROUP_OUTCOME_UNSPECIFIED {
		for _, l := range a.outputs[name].lanes {
			if !l.stopped() {
				l.offer(end, sizeOf(end))
			}
		}
		return nil
	}
	if err := in.send(a.outputs[name], end); err != nil && err != ErrStopped {
		return err
	}
	return nil
}

// closeKept ends the groups whose last piece did not arrive.
func (a *actor) closeKept(in *In, failure error) {
	for name, groups := range a.kept {
		for _, group := range groups {
			_ = a.endGroup(in, name, group, outcomeOf(failure)) // the fault of a lane ends the node anyway
		}
	}
	a.kept = map[string]map[string]*pb.Group{}
}

func outcomeOf(failure error) pb.GroupOutcome {
	switch {
	case failure == nil:
		return pb.GroupOutcome_GROUP_OUTCOME_UNSPECIFIED
	case errors.Is(failure, context.Canceled) || errors.Is(failure, ErrStopped):
		return pb.GroupOutcome_GROUP_OUTCOME_CANCELLED
	}
	return pb.GroupOutcome_GROUP_OUTCOME_ERROR
}
