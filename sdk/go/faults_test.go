package lanemesh

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
)

func TestFaultSurvivesAStatus(t *testing.T) {
	fault := &Error{Code: codes.NotFound, Reason: "unknown-run", Message: "no such run", Details: map[string]string{"component": "c"}, Secondary: true}
	again := FaultOfStatus(fault.GRPCStatus())
	if again == nil || again.Reason != fault.Reason || again.Component() != "c" || !again.Secondary || again.Message != fault.Message {
		t.Fatalf("got %#v", again)
	}
}

func TestFaultSurvivesAFrame(t *testing.T) {
	fault := &Error{Code: codes.Unavailable, Reason: "lane-broken", Message: "gone", Details: map[string]string{"lane": "a>b"}}
	if again := FromProto(fault.Proto()); again.Reason != fault.Reason || again.Details["lane"] != "a>b" || again.Code != fault.Code {
		t.Fatalf("got %#v", again)
	}
}

func TestTextsOfFaultsAreCutAndValid(t *testing.T) {
	fault := &Error{Code: codes.Unknown, Reason: "node-error", Message: "\xff" + strings.Repeat("é", 20_000)}
	message := fault.Proto().GetMessage()
	if len(message) > maxFaultText || !strings.Contains(message, " ... ") || strings.Contains(message, "\xff") {
		t.Fatalf("%d bytes", len(message))
	}
	if text := fault.GRPCStatus().Message(); len(text) > maxStatusText {
		t.Fatalf("%d bytes in a status", len(text))
	}
}

func TestErrorsBecomeFaults(t *testing.T) {
	wrapped := fmt.Errorf("outer: %w", &Error{Code: codes.Internal, Reason: "inner"})
	for reason, err := range map[string]error{
		"inner": wrapped, "cancelled": context.Canceled, "timeout": context.DeadlineExceeded, "node-error": errors.New("x")} {
		if got := AsError(err).Reason; got != reason {
			t.Errorf("%v: got %s", err, got)
		}
	}
}

func TestWrongDeploymentNameIsRefused(t *testing.T) {
	if _, _, err := Deployed("chat:two").spec(nil); AsError(err).Reason != "bad-name" {
		t.Fatalf("got %v", err)
	}
}
