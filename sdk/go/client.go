package lanemesh

import (
	"context"
	"errors"
	"io"
	"strings"
	"time"

	"google.golang.org/grpc"

	pb "lanemesh/sdk/go/lanemeshv1"
)

const callTimeout = 30 * time.Second

// Client calls one orchestrator. It may be used by any number of goroutines.
type Client struct {
	address     string
	connection  *grpc.ClientConn
	runs        pb.RunServiceClient
	deployments pb.DeploymentServiceClient
	registry    pb.RegistryServiceClient
}

// DialOption changes how an orchestrator is dialled.
type DialOption func(*dialing)

type dialing struct {
	security Security
	more     []grpc.DialOption
}

// WithToken sends a bearer token with every call.
func WithToken(token string) DialOption {
	return func(d *dialing) { d.security.Token, d.security.TokenFile = token, "" }
}

// WithTLS makes the connection use TLS: the orchestrator must have a certificate of the authorities in the file, PEM; empty: those of
// the system.
func WithTLS(caFile string) DialOption {
	return func(d *dialing) { d.security.CAFile, d.security.TLS = caFile, true }
}

// WithCertificate gives the client a certificate and its key, PEM files, for an orchestrator that requires one.
func WithCertificate(certFile, keyFile string) DialOption {
	return func(d *dialing) { d.security.CertFile, d.security.KeyFile = certFile, keyFile }
}

// WithSecurity replaces what the environment has of certificates and tokens.
func WithSecurity(security Security) DialOption {
	return func(d *dialing) { d.security = security }
}

// WithGRPC adds options of gRPC, such as interceptors.
func WithGRPC(options ...grpc.DialOption) DialOption {
	return func(d *dialing) { d.more = append(d.more, options...) }
}

// Dial connects to the orchestrator at "host:port" and waits until it is reached or the context ends. TLS and token are those of the
// environment (SecurityFromEnvironment), unless options change them. It fails with the reason "unreachable" if the time is over.
func Dial(ctx context.Context, address string, options ...DialOption) (*Client, error) {
	settings := dialing{security: SecurityFromEnvironment()}
	for _, option := range options {
		option(&settings)
	}
	dialOptions, err := settings.security.DialOptions()
	if err != nil {
		return nil, err
	}
	dialOptions = append(dialOptions, grpc.WithBlock(), grpc.WithReturnConnectionError())
	connection, err := grpc.DialContext(ctx, address, append(dialOptions, settings.more...)...)
	if err != nil {
		return nil, unreachable(address, err)
	}
	return &Client{
		address:     address,
		connection:  connection,
		runs:        pb.NewRunServiceClient(connection),
		deployments: pb.NewDeploymentServiceClient(connection),
		registry:    pb.NewRegistryServiceClient(connection),
	}, nil
}

// Close closes the connection. The runs of Run are cancelled by that.
func (c *Client) Close() error { return c.connection.Close() }

// Connection returns the connection, for services that this package does not wrap.
func (c *Client) Connection() *grpc.ClientConn { return c.connection }

// NodeTypes returns the manifests of the node types of the mesh.
func (c *Client) NodeTypes(ctx context.Context) ([]*pb.Manifest, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	response, err := c.registry.ListNodeTypes(ctx, &pb.ListNodeTypesRequest{})
	return response.GetManifests(), callError(ctx, err, c.address)
}

// NodeServers returns the node servers of the mesh.
func (c *Client) NodeServers(ctx context.Context) ([]*pb.NodeServer, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	response, err := c.registry.ListNodeServers(ctx, &pb.ListNodeServersRequest{})
	return response.GetServers(), callError(ctx, err, c.address)
}

// Validate returns the faults of a pipeline, warnings included; none if it is valid.
func (c *Client) Validate(ctx context.Context, pipeline Pipeline, options ...Option) ([]*pb.PipelineFault, error) {
	spec, _, err := pipeline.spec(options)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	response, err := c.runs.ValidatePipeline(ctx, &pb.ValidatePipelineRequest{Spec: spec})
	return response.GetFaults(), callError(ctx, err, c.address)
}

// GetRun returns the record of a run.
func (c *Client) GetRun(ctx context.Context, runID string) (*pb.RunRecord, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	response, err := c.runs.GetRun(ctx, &pb.GetRunRequest{RunId: runID})
	return response.GetRun(), callError(ctx, err, c.address)
}

// CancelRun cancels a run. It has no effect on one that has ended.
func (c *Client) CancelRun(ctx context.Context, runID, reason string) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	_, err := c.runs.CancelRun(ctx, &pb.CancelRunRequest{RunId: runID, Reason: valid(reason)})
	return callError(ctx, err, c.address)
}

// Deploy makes a pipeline ready under a name, and replaces its previous version. The options are the defaults of its runs. It returns
// when the pipeline is ready, which may take until its models are loaded; the context limits that.
func (c *Client) Deploy(ctx context.Context, name string, pipeline Pipeline, options ...Option) (*pb.Deployment, error) {
	spec, _, err := pipeline.spec(options)
	if err != nil {
		return nil, err
	}
	response, err := c.deployments.Deploy(ctx, &pb.DeployRequest{Name: name, Spec: spec})
	return response.GetDeployment(), c.withFaults(ctx, callError(ctx, err, c.address), spec)
}

// Undeploy removes a deployed pipeline. Its runs continue to their end.
func (c *Client) Undeploy(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	_, err := c.deployments.Undeploy(ctx, &pb.UndeployRequest{Name: name})
	return callError(ctx, err, c.address)
}

// Deployments returns the deployed pipelines.
func (c *Client) Deployments(ctx context.Context) ([]*pb.Deployment, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	response, err := c.deployments.ListDeployments(ctx, &pb.ListDeploymentsRequest{})
	return response.GetDeployments(), callError(ctx, err, c.address)
}

// Result is what a pipeline returned for one request.
type Result struct {
	// RunID is the run.
	RunID string
	// Outputs are the items that reached a target, in the order of arrival.
	Outputs []Output
}

// Text returns the texts of all outputs, joined.
func (r *Result) Text() string {
	var text strings.Builder
	for _, output := range r.Outputs {
		text.WriteString(TextOf(output.Item))
	}
	return text.String()
}

// Request sends one input to a pipeline and returns all that it delivers. It fails with the fault of the run if that does not complete.
func (c *Client) Request(ctx context.Context, pipeline Pipeline, input *Item, options ...Option) (*Result, error) {
	run, err := c.Run(ctx, pipeline, append(options[:len(options):len(options)], WithInput(input))...)
	if err != nil {
		return nil, err
	}
	defer run.Close()
	result := &Result{RunID: run.ID()}
	for {
		update, err := run.Next()
		if err == io.EOF {
			return result, run.Err()
		}
		if err != nil {
			return nil, err
		}
		if output := update.GetOutput(); output != nil {
			result.Outputs = append(result.Outputs, outputOf(output))
		}
	}
}

// InvalidPipeline is the error of a pipeline that cannot run.
type InvalidPipeline struct {
	// Fault is the fault of the call.
	Fault *Error
	// Faults are all of its faults, each with a JSON pointer into the document.
	Faults []*pb.PipelineFault
}

// Error returns the message of the call.
func (e *InvalidPipeline) Error() string { return e.Fault.Message }

// Unwrap returns the fault of the call.
func (e *InvalidPipeline) Unwrap() error { return e.Fault }

// withFaults returns the error of a call that was given a pipeline: with every fault of the pipeline if it is invalid.
func (c *Client) withFaults(ctx context.Context, err error, spec *pb.RunSpec) error {
	var fault *Error
	if !errors.As(err, &fault) || fault.Reason != "pipeline-invalid" {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	response, failed := c.runs.ValidatePipeline(ctx, &pb.ValidatePipelineRequest{Spec: spec, ForRun: true})
	if failed != nil {
		return err
	}
	return &InvalidPipeline{fault, response.GetFaults()}
}
