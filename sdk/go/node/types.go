// Package node is a node server: it offers node types to the orchestrators of a mesh, and hosts the instances of their runs.
//
// A node type is a value of Type with a function: Process is called for each set of inputs, Run once for the whole run. Both get a
// context that ends with the run, and an In with the inputs, the outputs and the config of the call.
package node

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"google.golang.org/grpc/codes"

	lanemesh "lanemesh/sdk/go"
	pb "lanemesh/sdk/go/lanemeshv1"
)

// Func is the body of a node. It returns when its work is done, and early if the context ends. Its error fails the node, and with it the
// run, unless the component has another policy for firings that fail.
type Func func(ctx context.Context, in *In) error

// Node is a node with state. The server makes one with Type.New for each component of each run. If it has a method Close() error, that
// is called when the component has ended.
type Node interface {
	// Call is the body, as a Func.
	Call(ctx context.Context, in *In) error
}

// Call makes a Func a Node.
func (f Func) Call(ctx context.Context, in *In) error { return f(ctx, in) }

// Kind says when the body of a node type is called.
type Kind int

const (
	// Process is called for each set of inputs. It emits at most one item by each output.
	Process Kind = iota
	// Generate is called for each set of inputs. It emits any number of items.
	Generate
	// Run is called once. It takes its inputs itself, and emits any number of items.
	Run
)

// Input is an input of a node type.
type Input struct {
	// Name is unique among the inputs.
	Name string
	// Type is the type of its items.
	Type pb.LaneType
	// Optional inputs need not be connected, and the node fires without them.
	Optional bool
	// Assembled inputs take whole answers, texts, documents or media, assembled from the pieces of groups.
	Assembled bool
	// Description is its purpose.
	Description string
}

// Output is an output of a node type.
type Output struct {
	// Name is unique among the outputs.
	Name string
	// Type is the type of its items.
	Type pb.LaneType
	// Pieces of one firing of a Generate node are marked as one group. Outputs of type answers always are.
	Pieces bool
	// Description is its content.
	Description string
}

// Type is a node type.
type Type struct {
	// Provider is the name that pipelines use, in snake_case.
	Provider string
	// Version of the node type.
	Version string
	// Description; its first line is a summary.
	Description string
	// Kind says when the body is called.
	Kind Kind
	// Call is the body of a node without state. Either Call or New is set.
	Call Func
	// New makes a node with state from its config, a JSON object. Its error refuses the component.
	New func(config json.RawMessage) (Node, error)
	// Inputs and Outputs are its ports.
	Inputs  []Input
	Outputs []Output
	// ZipAll makes it fire with one item of every input, in lockstep, unless a component sets another mode. Otherwise it fires on every
	// item, with the latest of each other input.
	ZipAll bool
	// RunsToEnd makes it continue when all its consumers have stopped.
	RunsToEnd bool
	// ConfigSchema is the JSON schema of its config, as text; empty: it has no settings.
	ConfigSchema string
}

const noSettings = `{"type":"object","properties":{},"additionalProperties":false}`

func (t *Type) check() error {
	wrong := ""
	switch {
	case t.Provider == "":
		wrong = "has no Provider"
	case (t.Call == nil) == (t.New == nil):
		wrong = "needs either Call or New"
	case t.ConfigSchema != "" && !json.Valid([]byte(t.ConfigSchema)):
		wrong = "has a ConfigSchema that is no JSON"
	}
	names := map[string]bool{}
	for _, input := range t.Inputs {
		if input.Name == "" || names[input.Name] {
			wrong = fmt.Sprintf("has two inputs named %q, or one without a name", input.Name)
		}
		names[input.Name] = true
	}
	names = map[string]bool{}
	for _, output := range t.Outputs {
		if output.Name == "" || names[output.Name] {
			wrong = fmt.Sprintf("has two outputs named %q, or one without a name", output.Name)
		}
		names[output.Name] = true
	}
	if wrong == "" {
		return nil
	}
	return &lanemesh.Error{Code: codes.InvalidArgument, Reason: "bad-node", Message: fmt.Sprintf("the node type %q %s", t.Provider, wrong)}
}

func (t *Type) manifest(service string) *pb.Manifest {
	manifest := &pb.Manifest{
		Provider:          t.Provider,
		Version:           t.Version,
		Description:       t.Description,
		Service:           service,
		IsStreamingInput:  t.Kind == Run,
		IsStreamingOutput: t.Kind != Process,
		ConfigSchemaJson:  t.ConfigSchema,
		SyncMode:          pb.SyncMode_SYNC_MODE_ON_ANY,
		RunsToEnd:         t.RunsToEnd,
	}
	if t.ZipAll {
		manifest.SyncMode = pb.SyncMode_SYNC_MODE_ZIP_ALL
	}
	if manifest.ConfigSchemaJson == "" {
		manifest.ConfigSchemaJson = noSettings
	}
	if manifest.Version == "" {
		manifest.Version = "0.0.0"
	}
	for _, input := range t.Inputs {
		manifest.Inputs = append(manifest.Inputs, &pb.InputPort{
			Name: input.Name, LaneType: input.Type, Required: !input.Optional, Assembled: input.Assembled, Description: input.Description})
	}
	for _, output := range t.Outputs {
		manifest.Outputs = append(manifest.Outputs, &pb.OutputPort{
			Name: output.Name, LaneType: output.Type, Description: output.Description})
	}
	return manifest
}

// node makes the node of a component.
func (t *Type) node(config string) (node Node, err error) {
	if config == "" {
		config = "{}"
	}
	if t.Call != nil {
		if t.ConfigSchema == "" {
			var none struct{}
			return t.Call, Decode(json.RawMessage(config), &none)
		}
		return t.Call, nil
	}
	defer func() {
		if raised := recover(); raised != nil {
			err = panicked(raised)
		}
	}()
	return t.New(json.RawMessage(config))
}

// Decode stores a config in a struct. It fails if the config has a setting that the struct has not.
func Decode(config json.RawMessage, settings interface{}) error {
	decoder := json.NewDecoder(bytes.NewReader(config))
	decoder.DisallowUnknownFields()
	return decoder.Decode(settings)
}
