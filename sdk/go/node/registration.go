package node

import (
	"context"
	"fmt"
	"math/rand"
	"net"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	lanemesh "lanemesh/sdk/go"
	pb "lanemesh/sdk/go/lanemeshv1"
)

const (
	membershipBeat = 5 * time.Second
	minRejoinPause = 200 * time.Millisecond
	maxRejoinPause = 5 * time.Second
)

// register keeps the membership: it joins, and joins again whenever the stream breaks, until the context ends. A failure is logged once,
// until another one occurs.
func (s *Server) register(ctx context.Context) {
	options, err := s.security.DialOptions()
	if err != nil {
		s.options.Logger.Printf("cannot join the orchestrator at %s: %s", s.options.Orchestrator, err)
		return
	}
	logged, pause := "", minRejoinPause
	for ctx.Err() == nil {
		err := s.join(ctx, options)
		if s.setJoined(false) {
			logged, pause = "", minRejoinPause
		}
		if ctx.Err() != nil {
			return
		}
		if text := fmt.Sprint(err); text != logged {
			s.options.Logger.Printf("no orchestrator at %s: %s; retrying at least every %s", s.options.Orchestrator, text, maxRejoinPause)
			logged = text
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause/2 + time.Duration(rand.Int63n(int64(pause/2)))):
		}
		if pause *= 2; pause > maxRejoinPause {
			pause = maxRejoinPause
		}
	}
}

func (s *Server) setJoined(joined bool) (before bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before, s.joined = s.joined, joined
	s.changed.Broadcast()
	return before
}

// WaitJoined waits until the orchestrator knows this server, or the context ends.
func (s *Server) WaitJoined(ctx context.Context) error {
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		select {
		case <-ctx.Done():
			s.mu.Lock()
			s.changed.Broadcast()
			s.mu.Unlock()
		case <-stop:
		}
	}()
	s.mu.Lock()
	defer s.mu.Unlock()
	for !s.joined {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		s.changed.Wait()
	}
	return nil
}

// join registers once, and returns when the stream has ended.
func (s *Server) join(ctx context.Context, options []grpc.DialOption) error {
	conn, err := grpc.DialContext(ctx, s.options.Orchestrator, options...)
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := pb.NewRegistryServiceClient(conn).Register(ctx)
	if err != nil {
		return err
	}
	info := &pb.ServerInfo{
		Name: s.options.Name, Address: s.advertised(), ProtocolVersion: lanemesh.ProtocolVersion, Manifests: s.manifests,
		Pid: int64(os.Getpid()), Labels: s.options.Labels, SoftwareVersion: s.options.SoftwareVersion,
		MaxInstances: uint32(s.options.MaxInstances), Features: features, InstanceId: s.instanceID,
		StartedAt: timestamppb.New(s.startedAt),
	}
	if err := stream.Send(&pb.RegisterRequest{Frame: &pb.RegisterRequest_Server{Server: info}}); err != nil {
		_, err = stream.Recv()
		return err
	}
	beating := make(chan struct{})
	go func() {
		defer close(beating)
		s.beat(ctx, stream)
	}()
	defer func() {
		cancel()
		<-beating
	}()
	for {
		response, err := stream.Recv()
		if err != nil {
			return err
		}
		switch frame := response.GetFrame().(type) {
		case *pb.RegisterResponse_Registered:
			s.mu.Lock()
			s.given = frame.Registered.GetName()
			s.mu.Unlock()
			s.setJoined(true)
		case *pb.RegisterResponse_Warning:
			s.options.Logger.Printf("the orchestrator at %s: %s", s.options.Orchestrator, frame.Warning.GetText())
		}
	}
}

func (s *Server) beat(ctx context.Context, stream pb.RegistryService_RegisterClient) {
	ticker := time.NewTicker(membershipBeat)
	defer ticker.Stop()
	drained := s.drained
	for {
		request := &pb.RegisterRequest{}
		select {
		case <-ctx.Done():
			return
		case <-drained:
			drained = nil
			request.Frame = &pb.RegisterRequest_Draining{Draining: &pb.Draining{}}
		case <-ticker.C:
		}
		if stream.Send(request) != nil {
			return // the reader reports how the stream has ended
		}
	}
}

// advertised returns the address that others dial: of an unspecified one, that of this machine on the way to the orchestrator.
func (s *Server) advertised() string {
	if s.options.Advertise != "" {
		return s.options.Advertise
	}
	host, port, err := net.SplitHostPort(s.Address())
	if ip := net.ParseIP(host); err != nil || ip == nil || !ip.IsUnspecified() {
		return s.Address()
	}
	probe, err := net.Dial("udp", s.options.Orchestrator) // looks up the route only
	if err != nil {
		return net.JoinHostPort("127.0.0.1", port)
	}
	defer probe.Close()
	return net.JoinHostPort(probe.LocalAddr().(*net.UDPAddr).IP.String(), port)
}
