package lanemesh

import (
	"context"
	"fmt"
	"io"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	pb "lanemesh/sdk/go/lanemeshv1"
)

const (
	windowUpdates    = 256 // most updates that are sent and not acknowledged
	acknowledgeAfter = 128 // updates after which the caller acknowledges,
	acknowledgeBytes = 64 << 10
	maxInputs        = 64 // most inputs on the call that the run has not accepted
	maxInputBytes    = 1 << 20
	aloneBytes       = 256 << 10 // an input above the limit is sent beside at most so many bytes
	firstInputs      = 16        // most inputs that travel in the first frame
	firstInputBytes  = 64 << 10
)

// Output is one item that reached a target.
type Output struct {
	// Component is the target, Port its input.
	Component, Port string
	// Name is the name of the result that the target delivers to; empty: the target.
	Name string
	// Item is the item.
	Item *Item
}

func outputOf(update *pb.OutputUpdate) Output {
	return Output{update.GetComponent(), update.GetPort(), update.GetName(), update.GetItem()}
}

// Run is a run that its caller owns: the orchestrator cancels it if the caller goes away. The program takes its updates by Next or
// Outputs, from one goroutine. The run waits for a program that does not take them.
type Run struct {
	client  *Client
	id      string
	spec    *pb.RunSpec
	ctx     context.Context
	cancel  context.CancelFunc
	stream  pb.RunService_RunClient
	batches chan []*pb.Update
	token   string

	sending      sync.Mutex // around Send and CloseSend
	closed       bool       // guarded by sending: the run has ended, and nothing more is sent
	acknowledged uint64     // guarded by state
	received     uint64

	state    sync.Mutex
	changed  *sync.Cond // an input was accepted, or the call has ended
	sizes    []int      // of the inputs that the run has not accepted
	bytes    int
	accepted uint64
	took     bool
	over     bool
	failure  error

	batch      []*pb.Update
	untold     int // updates taken since the last acknowledgement
	untoldSize int
	final      *pb.JobUpdate
}

// Run starts a pipeline and owns its run. Options give its inputs; WithOpenInput leaves the input open for Push. The run ends when the
// context ends. It fails with *InvalidPipeline, or an *Error if the orchestrator cannot be reached or has no capacity.
func (c *Client) Run(ctx context.Context, pipeline Pipeline, options ...Option) (*Run, error) {
	spec, given, err := pipeline.spec(options)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	run := &Run{client: c, spec: spec, ctx: ctx, cancel: cancel, batches: make(chan []*pb.Update, windowUpdates+1)}
	run.changed = sync.NewCond(&run.state)
	if err := run.start(given); err != nil {
		cancel()
		return nil, c.withFaults(context.Background(), err, spec)
	}
	return run, nil
}

func (r *Run) start(given *runOptions) error {
	stream, err := r.client.runs.Run(r.ctx)
	if err != nil {
		return callError(r.ctx, err, r.client.address)
	}
	r.stream = stream
	first := &pb.RunRequest{Frame: &pb.RunRequest_Spec{Spec: r.spec}, TextOutputs: true}
	size := 0
	for _, input := range given.inputs {
		size += proto.Size(input)
	}
	together := len(given.inputs) <= firstInputs && size <= firstInputBytes
	if together {
		first.Inputs, first.EndsInput = given.inputs, !given.openInput
	}
	if err := stream.Send(first); err != nil && err != io.EOF { // of EOF the read reports the cause
		return callError(r.ctx, err, r.client.address)
	}
	for r.id == "" {
		if err := r.read(); err != nil {
			if err == io.EOF {
				err = &Error{Code: codes.Internal, Reason: "bad-orchestrator", Message: fmt.Sprintf(
					"the orchestrator at %s ended the call without an update", r.client.address)}
			}
			return err
		}
	}
	go r.readAll()
	if !(together && r.took) {
		go r.feed(given)
	}
	return nil
}

// ID returns the id of the run.
func (r *Run) ID() string { return r.id }

// Next returns the next update of the run. The terminal one is the last, and io.EOF follows it; Err then has the outcome. Updates
// before the returned one count as taken.
func (r *Run) Next() (*pb.Update, error) {
	for len(r.batch) == 0 {
		batch, open := <-r.batches
		if !open {
			r.state.Lock()
			defer r.state.Unlock()
			if r.failure != nil {
				return nil, r.failure
			}
			return nil, io.EOF
		}
		r.batch = batch
	}
	update := r.batch[0]
	r.batch[0] = nil
	r.batch = r.batch[1:]
	r.take(update)
	return update, nil
}

// Outputs returns a channel with the outputs of the run. It is closed when the run has ended; Err then has the outcome. The caller
// takes either updates or outputs.
func (r *Run) Outputs() <-chan Output {
	outputs := make(chan Output)
	go func() {
		defer close(outputs)
		for {
			update, err := r.Next()
			if err != nil {
				return
			}
			if output := update.GetOutput(); output != nil {
				select {
				case outputs <- outputOf(output):
				case <-r.ctx.Done():
					return
				}
			}
		}
	}()
	return outputs
}

// Err returns why the run did not complete: an *Error with its first cause, or with the reason "cancelled", or the error of the call or
// of the context. It is nil for a completed run, and meaningful once Next has returned an error or the channel of Outputs is closed.
func (r *Run) Err() error {
	r.state.Lock()
	defer r.state.Unlock()
	if r.final == nil {
		if r.failure == nil {
			return r.ctx.Err()
		}
		return r.failure
	}
	return outcomeOf(r.final)
}

// outcomeOf returns the error of a terminal update; nil if the run completed.
func outcomeOf(job *pb.JobUpdate) error {
	switch job.GetState() {
	case pb.RunState_RUN_STATE_FAILED:
		if fault := FromProto(job.GetError()); fault != nil {
			return fault
		}
		return &Error{Code: codes.Unknown, Reason: "unknown", Message: fmt.Sprintf("run %s failed", job.GetRunId())}
	case pb.RunState_RUN_STATE_CANCELLED:
		return &Error{Code: codes.Canceled, Reason: "cancelled", Message: fmt.Sprintf("run %s was cancelled: %s", job.GetRunId(), job.GetReason())}
	}
	return nil
}

func isTerminal(state pb.RunState) bool { return state >= pb.RunState_RUN_STATE_COMPLETED }

// Push sends an item to the source of the run, and waits until the run has accepted it. It fails with the reason of a refusal; the run
// continues.
func (r *Run) Push(item *Item) error { return r.PushTo("", item) }

// PushTo sends an item to one output of the source.
func (r *Run) PushTo(port string, item *Item) error {
	request := &pb.PushInputRequest{RunId: r.id, InputToken: r.token, Inputs: []*pb.RunInput{{Port: port, Item: item}}}
	_, err := r.client.runs.PushInput(r.ctx, request)
	return callError(r.ctx, err, r.client.address)
}

// EndInput ends the input of the run.
func (r *Run) EndInput() error {
	_, err := r.client.runs.PushInput(r.ctx, &pb.PushInputRequest{RunId: r.id, InputToken: r.token, End: true})
	return callError(r.ctx, err, r.client.address)
}

// Cancel cancels the run, so that its last updates still arrive.
func (r *Run) Cancel(reason string) error { return r.client.CancelRun(r.ctx, r.id, reason) }

// Close leaves the run, which cancels it if it has not ended.
func (r *Run) Close() { r.cancel() }

// take notes that the program has taken an update, and acknowledges when that is due.
func (r *Run) take(update *pb.Update) {
	r.untold++
	if r.untoldSize += proto.Size(update); r.untold < acknowledgeAfter && r.untoldSize < acknowledgeBytes {
		return
	}
	r.untold, r.untoldSize = 0, 0
	r.state.Lock()
	r.acknowledged = update.GetSequence()
	r.state.Unlock()
	r.send(&pb.RunRequest{Frame: &pb.RunRequest_Acknowledge{
		Acknowledge: &pb.UpdateAcknowledgement{Sequence: update.GetSequence()}}})
}

// send writes a frame. If the call has ended, the reader reports how.
func (r *Run) send(request *pb.RunRequest) {
	r.sending.Lock()
	defer r.sending.Unlock()
	if !r.closed { // a program that reads slowly still takes updates when the last one has arrived
		_ = r.stream.Send(request)
	}
}

// feed writes the inputs that were not in the first frame, within the window of the call, and their end.
func (r *Run) feed(given *runOptions) {
	for _, input := range given.inputs {
		size := proto.Size(input)
		r.state.Lock()
		for !r.over && (len(r.sizes) >= maxInputs || (r.bytes+size > maxInputBytes && r.bytes > aloneBytes)) {
			r.changed.Wait()
		}
		over := r.over
		r.sizes, r.bytes = append(r.sizes, size), r.bytes+size
		r.state.Unlock()
		if over {
			return
		}
		r.send(&pb.RunRequest{Frame: &pb.RunRequest_Input{Input: input}})
	}
	if !given.openInput {
		r.send(&pb.RunRequest{Frame: &pb.RunRequest_EndInput{EndInput: &pb.InputEnd{}}})
	}
}

func (r *Run) readAll() {
	var err error
	for err == nil {
		err = r.read()
	}
	r.state.Lock()
	r.over = true
	if err != io.EOF {
		r.failure = err
	}
	r.changed.Broadcast()
	r.state.Unlock()
	close(r.batches)
	r.cancel()
}

// read takes one frame. It returns io.EOF at the clean end of the call.
func (r *Run) read() error {
	response, err := r.stream.Recv()
	if err != nil {
		return callError(r.ctx, err, r.client.address)
	}
	if response.GetInputToken() != "" {
		r.token = response.GetInputToken()
	}
	r.took = r.took || response.GetTookInputs()
	r.state.Lock()
	for r.accepted < response.GetAcceptedInputs() && len(r.sizes) > 0 {
		r.accepted++
		r.bytes -= r.sizes[0]
		r.sizes = r.sizes[1:]
	}
	r.changed.Broadcast()
	acknowledged := r.acknowledged
	r.state.Unlock()
	batch := merged(response.GetUpdates(), response.GetTextOutputs())
	if len(batch) == 0 {
		return nil
	}
	last := batch[len(batch)-1]
	r.received = last.GetSequence()
	if r.id == "" {
		r.id = batch[0].GetJob().GetRunId()
	}
	if r.received-acknowledged > windowUpdates {
		return &Error{Code: codes.Internal, Reason: "bad-orchestrator", Message: fmt.Sprintf(
			"the orchestrator at %s sent update %d, but update %d is the last that was acknowledged, and %d may follow it",
			r.client.address, r.received, acknowledged, windowUpdates)}
	}
	if job := last.GetJob(); job != nil && isTerminal(job.GetState()) {
		r.state.Lock()
		r.final = job
		r.state.Unlock()
		r.sending.Lock()
		r.closed = true
		_ = r.stream.CloseSend()
		r.sending.Unlock()
	}
	r.batches <- batch // has capacity: the window was checked
	return nil
}

// merged returns the updates of a frame in order, those of texts in full.
func merged(updates []*pb.Update, texts []*pb.TextOutputs) []*pb.Update {
	if len(texts) == 0 {
		return updates
	}
	var batch []*pb.Update
	for _, outputs := range texts {
		for len(updates) > 0 && updates[0].GetSequence() < outputs.GetFirstSequence() {
			batch, updates = append(batch, updates[0]), updates[1:]
		}
		for i, text := range outputs.GetTexts() {
			batch = append(batch, &pb.Update{
				Sequence: outputs.GetFirstSequence() + uint64(i),
				Time:     outputs.GetTime(),
				Kind: &pb.Update_Output{Output: &pb.OutputUpdate{
					Component: outputs.GetComponent(),
					Port:      outputs.GetPort(),
					Name:      outputs.GetName(),
					Item:      Text(text),
				}},
			})
		}
	}
	return append(batch, updates...)
}
