package lanemesh

import (
	"context"
	"fmt"
	"io"
	"math/rand"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "lanemesh/sdk/go/lanemeshv1"
)

const (
	watchAttempts   = 8 // further calls of a broken WatchRun; a received frame resets the count
	firstWatchPause = 100 * time.Millisecond
	maxWatchPause   = 5 * time.Second
)

// Detached is a run without an owner: it continues without its caller.
type Detached struct {
	client *Client
	id     string
}

// StartRun starts a detached run with the inputs of the options.
func (c *Client) StartRun(ctx context.Context, pipeline Pipeline, options ...Option) (*Detached, error) {
	spec, given, err := pipeline.spec(options)
	if err != nil {
		return nil, err
	}
	short, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	response, err := c.runs.StartRun(short, &pb.StartRunRequest{Spec: spec, Inputs: given.inputs, OpenInput: given.openInput})
	if err != nil {
		return nil, c.withFaults(ctx, callError(ctx, err, c.address), spec)
	}
	return c.Detached(response.GetRunId()), nil
}

// Detached returns the run of an id. Nothing is called.
func (c *Client) Detached(runID string) *Detached { return &Detached{c, runID} }

// ID returns the id of the run.
func (d *Detached) ID() string { return d.id }

// Push sends an item to the source of the run, and waits until the run has accepted it.
func (d *Detached) Push(ctx context.Context, item *Item) error {
	return d.push(ctx, &pb.PushInputRequest{RunId: d.id, Inputs: []*pb.RunInput{{Item: item}}})
}

// EndInput ends the input of the run.
func (d *Detached) EndInput(ctx context.Context) error {
	return d.push(ctx, &pb.PushInputRequest{RunId: d.id, End: true})
}

func (d *Detached) push(ctx context.Context, request *pb.PushInputRequest) error {
	_, err := d.client.runs.PushInput(ctx, request)
	return callError(ctx, err, d.client.address)
}

// Cancel cancels the run.
func (d *Detached) Cancel(ctx context.Context, reason string) error {
	return d.client.CancelRun(ctx, d.id, reason)
}

// Wait watches the run to its end. It returns nil if the run completed, otherwise its fault.
func (d *Detached) Wait(ctx context.Context) error {
	watch := d.Watch(ctx, 1)
	defer watch.Close()
	for {
		_, err := watch.Next()
		if _, gap := err.(*Gap); err == nil || gap {
			continue
		}
		if err == io.EOF {
			return watch.Err()
		}
		return err
	}
}

// Gap is the error of updates that are no longer kept. The next call of Next returns the update after them.
type Gap struct{ From, To uint64 }

// Error names the updates.
func (g *Gap) Error() string {
	return fmt.Sprintf("the updates %d to %d are no longer kept", g.From, g.To)
}

// Watch reads the updates of a run, each once, even if the connection breaks meanwhile. It never slows the run. It is used from one
// goroutine.
type Watch struct {
	run      *Detached
	ctx      context.Context
	cancel   context.CancelFunc
	stream   pb.RunService_WatchRunClient
	end      context.CancelFunc // of the present call
	wanted   uint64
	failures int
	pause    time.Duration
	batch    []*pb.Update
	final    *pb.JobUpdate
}

// Watch reads the updates of the run from a number on; the first one is 1. The call is made by Next.
func (d *Detached) Watch(ctx context.Context, fromSequence uint64) *Watch {
	if fromSequence == 0 {
		fromSequence = 1
	}
	ctx, cancel := context.WithCancel(ctx)
	return &Watch{run: d, ctx: ctx, cancel: cancel, end: func() {}, wanted: fromSequence, pause: firstWatchPause}
}

// Close ends the call.
func (w *Watch) Close() { w.cancel() }

// Err returns why the run did not complete, once Next has returned io.EOF; nil for a completed run.
func (w *Watch) Err() error {
	if w.final == nil {
		return nil
	}
	return outcomeOf(w.final)
}

// Next returns the next update. After the terminal one it returns io.EOF. A *Gap is no end: call Next again.
func (w *Watch) Next() (*pb.Update, error) {
	for len(w.batch) == 0 {
		if w.final != nil {
			return nil, io.EOF
		}
		if err := w.read(); err != nil {
			return nil, err
		}
	}
	update := w.batch[0]
	w.batch = w.batch[1:]
	w.wanted = update.GetSequence() + 1
	if job := update.GetJob(); job != nil && isTerminal(job.GetState()) {
		w.final = job
	}
	return update, nil
}

// read takes one frame, and calls again if the call is broken.
func (w *Watch) read() error {
	var err error
	if w.stream == nil {
		var ctx context.Context
		ctx, w.end = context.WithCancel(w.ctx)
		request := &pb.WatchRunRequest{RunId: w.run.id, FromSequence: w.wanted, TextOutputs: true}
		w.stream, err = w.run.client.runs.WatchRun(ctx, request)
	}
	var response *pb.WatchRunResponse
	if err == nil {
		response, err = w.stream.Recv()
	}
	if err != nil {
		w.end()
		w.stream = nil
		return w.broken(err)
	}
	w.failures, w.pause = 0, firstWatchPause
	w.batch = merged(response.GetUpdates(), response.GetTextOutputs())
	if gap := response.GetGap(); gap != nil {
		w.wanted = gap.GetToSequence() + 1
		return &Gap{gap.GetFromSequence(), gap.GetToSequence()}
	}
	return nil
}

// broken returns the error of a call that cannot be repeated. Otherwise it waits and returns nil.
func (w *Watch) broken(err error) error {
	if err == io.EOF { // the orchestrator ends the call after the terminal update only
		err = status.Error(codes.Unavailable, "the call ended before the run")
	}
	failed, _ := status.FromError(err)
	code := failed.Code()
	wasCut := code == codes.Unavailable || code == codes.Internal || code == codes.Unknown
	if w.failures++; w.failures > watchAttempts || !wasCut || FaultOfStatus(failed) != nil || w.ctx.Err() != nil {
		return callError(w.ctx, err, w.run.client.address)
	}
	if w.failures == 1 {
		return nil
	}
	select {
	case <-w.ctx.Done():
		return w.ctx.Err()
	case <-time.After(time.Duration(rand.Int63n(int64(w.pause)) + 1)):
	}
	if w.pause *= 2; w.pause > maxWatchPause {
		w.pause = maxWatchPause
	}
	return nil
}
