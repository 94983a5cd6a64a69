package lanemesh

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"

	pb "lanemesh/sdk/go/lanemeshv1"
)

// Pipeline is what a run executes: a document, or a deployed pipeline.
type Pipeline struct {
	json       string
	name       string
	deployment string
	version    uint32
	err        error
}

// JSON is a pipeline document as text.
func JSON(text string) Pipeline { return Pipeline{json: text} }

// File is a pipeline document in a file.
func File(path string) Pipeline {
	text, err := os.ReadFile(path)
	return Pipeline{json: strings.TrimPrefix(string(text), "\ufeff"), name: filepath.Base(path), err: err}
}

// Value is a pipeline document as a value that encoding/json encodes, such as a map.
func Value(document interface{}) Pipeline {
	text, err := json.Marshal(document)
	return Pipeline{json: string(text), err: err}
}

// Deployed is a deployed pipeline: "chat", "@chat", or a version of it: "chat:2".
func Deployed(name string) Pipeline {
	name = strings.TrimPrefix(name, "@")
	colon := strings.LastIndexByte(name, ':')
	if colon < 0 {
		return Pipeline{deployment: name}
	}
	version, err := strconv.ParseUint(name[colon+1:], 10, 32)
	if err != nil {
		return Pipeline{err: &Error{Code: codes.InvalidArgument, Reason: "bad-name", Message: fmt.Sprintf(
			"%q: write a deployed pipeline as NAME or NAME:VERSION, such as chat:2", name)}}
	}
	return Pipeline{deployment: name[:colon], version: uint32(version)}
}

// Option changes how a run is made.
type Option func(*runOptions)

type runOptions struct {
	settings  map[string]interface{}
	timeout   time.Duration
	trace     pb.TraceLevel
	variables map[string]string
	session   string
	source    string
	key       string
	inputs    []*pb.RunInput
	openInput bool
}

// WithSetting sets one value of a config: "component.key" and a value that encoding/json encodes.
func WithSetting(key string, value interface{}) Option {
	return func(o *runOptions) { o.settings[key] = value }
}

// WithTimeout limits the time of the run.
func WithTimeout(limit time.Duration) Option { return func(o *runOptions) { o.timeout = limit } }

// WithTrace reports each item that reaches a node.
func WithTrace(level pb.TraceLevel) Option { return func(o *runOptions) { o.trace = level } }

// WithVariable gives a value for ${NAME} in the pipeline. It is treated as a secret.
func WithVariable(name, value string) Option {
	return func(o *runOptions) { o.variables[name] = value }
}

// WithSession makes the run a part of a session, whose runs share the session's memory.
func WithSession(id string) Option { return func(o *runOptions) { o.session = id } }

// WithSource selects the source of a pipeline that has several.
func WithSource(component string) Option { return func(o *runOptions) { o.source = component } }

// WithIdempotencyKey makes a repeated StartRun with the same key return the run that the first one started.
func WithIdempotencyKey(key string) Option { return func(o *runOptions) { o.key = key } }

// WithInput adds inputs that the run begins with.
func WithInput(items ...*Item) Option {
	return func(o *runOptions) {
		for _, item := range items {
			o.inputs = append(o.inputs, &pb.RunInput{Item: item})
		}
	}
}

// WithOpenInput leaves the input of the run open: further inputs follow by Push, and EndInput ends it.
func WithOpenInput() Option { return func(o *runOptions) { o.openInput = true } }

// spec returns the pipeline with its options as a message.
func (p Pipeline) spec(options []Option) (*pb.RunSpec, *runOptions, error) {
	if p.err != nil {
		return nil, nil, p.err
	}
	o := &runOptions{settings: map[string]interface{}{}, variables: map[string]string{}}
	for _, option := range options {
		option(o)
	}
	spec := &pb.RunSpec{
		Trace:           o.trace,
		Name:            p.name,
		Variables:       o.variables,
		SessionId:       o.session,
		SourceComponent: o.source,
		IdempotencyKey:  o.key,
		SettingsJson:    map[string]string{},
	}
	for key, value := range o.settings {
		text, err := json.Marshal(value)
		if err != nil {
			return nil, nil, &Error{Code: codes.InvalidArgument, Reason: "bad-setting", Message: fmt.Sprintf("the setting %q: %s", key, err)}
		}
		spec.SettingsJson[key] = string(text)
	}
	if o.timeout > 0 {
		spec.Timeout = durationpb.New(o.timeout)
	}
	if p.deployment != "" {
		spec.Source = &pb.RunSpec_Deployment{Deployment: &pb.DeploymentReference{Name: p.deployment, Version: p.version}}
	} else {
		spec.Source = &pb.RunSpec_PipelineJson{PipelineJson: p.json}
	}
	return spec, o, nil
}
