package node

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"log"
	"net"
	"os"
	"sort"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"

	lanemesh "lanemesh/sdk/go"
	pb "lanemesh/sdk/go/lanemeshv1"
)

const (
	maxStreamsPerConnection = 64
	dialTimeout             = 10 * time.Second
)

// services are those whose health is served: the server as a whole, and NodeService.
var services = []string{"", "lanemesh.v1.NodeService"}

// Options of a node server.
type Options struct {
	// Name is the requested name, such as "llm"; empty: "go".
	Name string
	// Listen is the address to listen on: "host:port"; empty: a free port of 127.0.0.1.
	Listen string
	// Advertise is the address that others dial; empty: where it listens, or the address of this machine if that is unspecified.
	Advertise string
	// Orchestrator is the address of the orchestrator to join; empty: none, it knows this server by other means.
	Orchestrator string
	// Labels are those by which components may choose the server.
	Labels map[string]string
	// MaxInstances is the maximum number of components at once; 0: any number.
	MaxInstances int
	// SoftwareVersion is the version of the program, for people.
	SoftwareVersion string
	// Security is what is known of certificates and tokens; nil: that of the environment.
	Security *lanemesh.Security
	// Authorize checks every call, by its metadata for example: its error refuses the call. nil: no check.
	Authorize func(ctx context.Context, method string) error
	// Logger gets what operators should know; nil: the standard one.
	Logger *log.Logger
}

// Server is a node server.
type Server struct {
	pb.UnimplementedNodeServiceServer
	options    Options
	security   lanemesh.Security
	types      map[string]*Type
	manifests  []*pb.Manifest
	instanceID string
	startedAt  time.Time
	listener   net.Listener
	grpc       *grpc.Server
	health     *health.Server
	pool       *pool
	stopping   chan struct{} // closed when runs are to end
	drained    chan struct{} // closed when the server takes no more runs

	mu       sync.Mutex
	given    string // the name that the orchestrator has given
	joined   bool
	changed  *sync.Cond // joined
	draining bool
	runs     map[runKey]*hostedRun
}

// NewServer makes a server of node types, and begins to listen; it serves with Serve. It fails if a node type contradicts itself, the
// address is in use, or a certificate cannot be read.
func NewServer(options Options, types ...*Type) (*Server, error) {
	if options.Name == "" {
		options.Name = "go"
	}
	if options.Listen == "" {
		options.Listen = "127.0.0.1:0"
	}
	if options.Logger == nil {
		options.Logger = log.New(os.Stderr, "", log.LstdFlags)
	}
	s := &Server{
		options: options, types: map[string]*Type{}, given: options.Name, runs: map[runKey]*hostedRun{}, startedAt: time.Now(),
		stopping: make(chan struct{}), drained: make(chan struct{}), security: lanemesh.SecurityFromEnvironment(),
	}
	s.changed = sync.NewCond(&s.mu)
	if options.Security != nil {
		s.security = *options.Security
	}
	if os.Getenv("LANEMESH_AUTH") != "" && options.Authorize == nil {
		return nil, &lanemesh.Error{Code: codes.InvalidArgument, Reason: "bad-setting", Message: "LANEMESH_AUTH is set, but this server has no " +
			"Options.Authorize to check tokens with. Set it, or use mutual TLS (LANEMESH_MTLS=1) and unset LANEMESH_AUTH"}
	}
	for _, t := range types {
		if err := t.check(); err != nil {
			return nil, err
		}
		if s.types[t.Provider] != nil {
			return nil, &lanemesh.Error{Code: codes.InvalidArgument, Reason: "bad-node", Message: fmt.Sprintf("two node types are named %q", t.Provider)}
		}
		s.types[t.Provider] = t
		s.manifests = append(s.manifests, t.manifest(options.Name))
	}
	sort.Slice(s.manifests, func(i, j int) bool { return s.manifests[i].Provider < s.manifests[j].Provider })
	id := make([]byte, 8)
	if _, err := rand.Read(id); err != nil {
		return nil, err
	}
	s.instanceID = hex.EncodeToString(id)
	dialOptions, err := s.security.DialOptions()
	if err != nil {
		return nil, err
	}
	s.pool = &pool{options: dialOptions, connections: map[string][]*pooled{}}
	serverOptions, err := s.security.ServerOptions()
	if err != nil {
		return nil, err
	}
	if options.Authorize != nil {
		serverOptions = append(serverOptions, grpc.UnaryInterceptor(s.unary), grpc.StreamInterceptor(s.stream))
	}
	s.listener, err = net.Listen("tcp", options.Listen)
	if err != nil {
		return nil, fmt.Errorf("cannot listen on %s: %w", options.Listen, err)
	}
	s.grpc = grpc.NewServer(serverOptions...)
	s.health = health.NewServer()
	for _, service := range services {
		s.health.SetServingStatus(service, healthpb.HealthCheckResponse_SERVING)
	}
	pb.RegisterNodeServiceServer(s.grpc, s)
	healthpb.RegisterHealthServer(s.grpc, s.health)
	reflection.Register(s.grpc)
	return s, nil
}

// Address returns where the server listens.
func (s *Server) Address() string { return s.listener.Addr().String() }

// GRPC returns the gRPC server, for services of the program beside the nodes. They are registered before Serve.
func (s *Server) GRPC() *grpc.Server { return s.grpc }

func (s *Server) name() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.given
}

// Serve joins the orchestrator, if there is one, and serves until the context ends. Then the runs are cancelled, and everything is
// closed. Call Drain before that to let them end.
func (s *Server) Serve(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	served := make(chan error, 1)
	go func() { served <- s.grpc.Serve(s.listener) }()
	registered := make(chan struct{})
	go func() {
		defer close(registered)
		if s.options.Orchestrator != "" {
			s.register(ctx)
		}
	}()
	var err error
	select {
	case err = <-served:
	case <-ctx.Done():
	}
	cancel()
	s.beginDraining()
	s.health.Shutdown()
	close(s.stopping)
	s.awaitRuns(closeTimeout)
	s.grpc.Stop()
	<-registered
	s.pool.close()
	return err
}

// Drain takes no new runs, and waits until the present ones have ended or the context ends.
func (s *Server) Drain(ctx context.Context) error {
	s.beginDraining()
	for {
		s.mu.Lock()
		var gone chan struct{}
		for _, run := range s.runs {
			gone = run.gone
			break
		}
		s.mu.Unlock()
		if gone == nil {
			return nil
		}
		select {
		case <-gone:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s *Server) beginDraining() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.draining {
		s.draining = true
		close(s.drained)
		for _, service := range services {
			s.health.SetServingStatus(service, healthpb.HealthCheckResponse_NOT_SERVING)
		}
	}
}

func (s *Server) awaitRuns(limit time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	_ = s.Drain(ctx) // the server stops anyway
}

func (s *Server) unary(ctx context.Context, request interface{}, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (interface{}, error) {
	if err := s.options.Authorize(ctx, info.FullMethod); err != nil {
		return nil, err
	}
	return handler(ctx, request)
}

func (s *Server) stream(server interface{}, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	if err := s.options.Authorize(stream.Context(), info.FullMethod); err != nil {
		return err
	}
	return handler(server, stream)
}

// pool shares connections to other node servers: at most 64 lanes on one.
type pool struct {
	options     []grpc.DialOption
	mu          sync.Mutex
	connections map[string][]*pooled
}

type pooled struct {
	conn    *grpc.ClientConn
	address string
	streams int
}

func (p *pool) acquire(address string) (*pooled, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, connection := range p.connections[address] {
		if connection.streams < maxStreamsPerConnection {
			connection.streams++
			return connection, nil
		}
	}
	conn, err := grpc.Dial(address, p.options...)
	if err != nil {
		return nil, err
	}
	connection := &pooled{conn, address, 1}
	p.connections[address] = append(p.connections[address], connection)
	return connection, nil
}

// release gives a stream back. The connection closes with its last one.
func (p *pool) release(connection *pooled) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if connection.streams--; connection.streams > 0 {
		return
	}
	kept := p.connections[connection.address][:0]
	for _, other := range p.connections[connection.address] {
		if other != connection {
			kept = append(kept, other)
		}
	}
	if len(kept) == 0 {
		delete(p.connections, connection.address)
	} else {
		p.connections[connection.address] = kept
	}
	connection.conn.Close()
}

func (p *pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, connections := range p.connections {
		for _, connection := range connections {
			connection.conn.Close()
		}
	}
	p.connections = map[string][]*pooled{}
}
