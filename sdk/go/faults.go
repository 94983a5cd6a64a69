package lanemesh

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	pb "lanemesh/sdk/go/lanemeshv1"
)

// Domain is the domain of the ErrorInfo in every failed call of Lanemesh.
const Domain = "lanemesh"

const (
	maxFaultText   = 16_384
	maxStatusText  = 1_500
	maxDetailText  = 200
	maxFaultDetail = 8
)

// Error is one fault: of a run, a lane or a call. Its message says what, where and what to do next.
type Error struct {
	// Code is the gRPC status code.
	Code codes.Code
	// Reason is machine-readable, in kebab case: one of docs/reasons.md, or one that a node defines.
	Reason string
	// Message is the fault in words.
	Message string
	// Details locate the fault: "component", "provider", "server", "lane", "port" and similar keys.
	Details map[string]string
	// Traceback has the frames of the code of a node; empty if there is none.
	Traceback string
	// Secondary is true if the fault is the consequence of another one.
	Secondary bool
	// RetryAfter is the time after which the same call may succeed; 0 if a retry is not suggested.
	RetryAfter time.Duration
}

// Error returns the message.
func (e *Error) Error() string { return e.Message }

// Component returns the component that the fault belongs to; empty if it is none.
func (e *Error) Component() string { return e.Details["component"] }

// Located returns the same fault with details that it does not have yet, given as key, value, key, value.
func (e *Error) Located(pairs ...string) *Error {
	located := *e
	located.Details = make(map[string]string, len(e.Details)+len(pairs)/2)
	for i := 0; i+1 < len(pairs); i += 2 {
		located.Details[pairs[i]] = pairs[i+1]
	}
	for key, value := range e.Details {
		located.Details[key] = value
	}
	return &located
}

// AsSecondary returns the fault as its consequences report it.
func (e *Error) AsSecondary() *Error {
	secondary := *e
	secondary.Secondary = true
	return &secondary
}

// Proto returns the fault as frames and updates carry it.
func (e *Error) Proto() *pb.Fault {
	details := make(map[string]string, len(e.Details))
	for key, value := range e.Details {
		details[valid(key)] = cut(value, maxFaultText)
	}
	return &pb.Fault{
		Code:      int32(e.Code),
		Reason:    valid(e.Reason),
		Message:   cut(e.Message, maxFaultText),
		Details:   details,
		Traceback: cut(e.Traceback, maxFaultText),
		Secondary: e.Secondary,
	}
}

// GRPCStatus returns the fault as a failed gRPC call carries it, so that a handler can return an *Error. Long texts are cut, because
// the trailing metadata of a call is bounded.
func (e *Error) GRPCStatus() *status.Status {
	details := map[string]string{}
	for key, value := range e.Details {
		if len(details) < maxFaultDetail {
			details[valid(key)] = cut(value, maxDetailText)
		}
	}
	code := e.Code
	if code == codes.OK {
		code = codes.Unknown
	}
	plain := status.New(code, cut(e.Message, maxStatusText))
	rich, err := plain.WithDetails(&errdetails.ErrorInfo{Reason: valid(e.Reason), Domain: Domain, Metadata: details})
	if err != nil {
		return plain
	}
	if e.Secondary {
		if more, err := rich.WithDetails(&pb.Fault{Secondary: true}); err == nil {
			rich = more
		}
	}
	if e.RetryAfter > 0 {
		if more, err := rich.WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(e.RetryAfter)}); err == nil {
			rich = more
		}
	}
	return rich
}

// FromProto returns the fault of a frame or an update; nil for none.
func FromProto(fault *pb.Fault) *Error {
	if fault == nil || fault.GetCode() == 0 {
		return nil
	}
	reason, message := fault.GetReason(), fault.GetMessage()
	if reason == "" {
		reason = "unknown"
	}
	if message == "" {
		message = "no reason was given"
	}
	return &Error{
		Code:      codes.Code(fault.GetCode()),
		Reason:    reason,
		Message:   message,
		Details:   fault.GetDetails(),
		Traceback: fault.GetTraceback(),
		Secondary: fault.GetSecondary(),
	}
}

// AsError returns an error as a fault: itself if it is one, otherwise one with the reason "node-error", or "cancelled" for the end of a
// context.
func AsError(err error) *Error {
	var fault *Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &fault):
		return fault
	case errors.Is(err, context.Canceled):
		return &Error{Code: codes.Canceled, Reason: "cancelled", Message: "the work was cancelled", Secondary: true}
	case errors.Is(err, context.DeadlineExceeded):
		return &Error{Code: codes.DeadlineExceeded, Reason: "timeout", Message: "the time limit has passed"}
	}
	return &Error{
		Code:    codes.Unknown,
		Reason:  "node-error",
		Message: fmt.Sprintf("%T: %s", err, err),
		Details: map[string]string{"exception": fmt.Sprintf("%T", err)},
	}
}

// FaultOfStatus returns the fault that the other side sent with a failed call; nil if it sent none, because the connection broke or the
// other side is not of Lanemesh.
func FaultOfStatus(failed *status.Status) *Error {
	fault := &Error{Code: failed.Code(), Message: failed.Message()}
	for _, detail := range failed.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			if detail.GetDomain() == Domain {
				fault.Reason, fault.Details = detail.GetReason(), detail.GetMetadata()
			}
		case *errdetails.RetryInfo:
			fault.RetryAfter = detail.GetRetryDelay().AsDuration()
		case *errdetails.DebugInfo:
			fault.Traceback = detail.GetDetail()
		case *pb.Fault:
			fault.Secondary = detail.GetSecondary()
		}
	}
	if fault.Reason == "" {
		return nil
	}
	return fault
}

// callError returns the error of a failed call to an orchestrator: an *Error, or the error of a context of the caller.
func callError(ctx context.Context, err error, address string) error {
	if err == nil || err == io.EOF {
		return err
	}
	failed, _ := status.FromError(err)
	if fault := FaultOfStatus(failed); fault != nil {
		return fault
	}
	if ctx.Err() != nil && (failed.Code() == codes.Canceled || failed.Code() == codes.DeadlineExceeded) {
		return ctx.Err()
	}
	text := failed.Message()
	switch {
	case failed.Code() == codes.Unavailable:
		return unreachable(address, errors.New(text))
	case failed.Code() == codes.ResourceExhausted && strings.Contains(text, "larger than max"):
		return &Error{Code: codes.ResourceExhausted, Reason: "message-too-large", Message: fmt.Sprintf(
			"a message to or from the orchestrator at %s is larger than %d bytes: %s. Send it in pieces", address, MaxMessageBytes, text)}
	}
	return &Error{Code: failed.Code(), Reason: "call-failed", Message: fmt.Sprintf(
		"the orchestrator at %s answered %s: %s", address, failed.Code(), text)}
}

func unreachable(address string, err error) *Error {
	return &Error{Code: codes.Unavailable, Reason: "unreachable", Message: fmt.Sprintf(
		"the orchestrator at %s cannot be reached: %s. Is `lanemesh serve` running there?", address, err)}
}

// valid returns a text as UTF-8, which protobuf requires.
func valid(text string) string { return strings.ToValidUTF8(text, "\uFFFD") }

// cut returns a text of at most so many bytes, cut in the middle.
func cut(text string, limit int) string {
	text = valid(text)
	if len(text) <= limit {
		return text
	}
	const mark = " ... "
	half := (limit - len(mark)) / 2
	return strings.ToValidUTF8(text[:half], "") + mark + strings.ToValidUTF8(text[len(text)-half:], "")
}
