// Package tools is a server of tools that knows only the protos: an agent calls it through the node type tool_grpc.
package tools

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"time"

	"google.golang.org/protobuf/proto"

	pb "lanemesh/sdk/go/lanemeshv1"
)

// Server implements ToolService. Cancelled, if it is set, gets the name of each call that was cancelled.
type Server struct {
	pb.UnimplementedToolServiceServer
	Cancelled chan<- string
}

const distanceSchema = `{"type":"object","required":["from","to"],"properties":{
	"from":{"type":"array","items":{"type":"number"},"description":"Latitude and longitude in degrees"},
	"to":{"type":"array","items":{"type":"number"},"description":"Latitude and longitude in degrees"}}}`

const countdownSchema = `{"type":"object","required":["steps"],"properties":{"steps":{"type":"integer"}}}`

// ListTools lists the tools.
func (s *Server) ListTools(context.Context, *pb.ListToolsRequest) (*pb.ListToolsResponse, error) {
	return &pb.ListToolsResponse{Fixed: true, Tools: []*pb.ToolSpec{
		{Name: "distance", Description: "The distance between two points on Earth, in kilometres.", ParametersJson: distanceSchema},
		{Name: "countdown", Description: "Counts down and reports each step. Slow.", ParametersJson: countdownSchema},
	}}, nil
}

// CallTool calls a tool. A failure of the tool is a result too: the model reads it.
func (s *Server) CallTool(request *pb.CallToolRequest, stream pb.ToolService_CallToolServer) error {
	var content interface{}
	var err error
	switch request.GetName() {
	case "distance":
		content, err = distance(request.GetArgumentsJson())
	case "countdown":
		content, err = s.countdown(request, stream)
	default:
		err = fmt.Errorf("there is no tool %s", request.GetName())
	}
	if stream.Context().Err() != nil {
		if s.Cancelled != nil {
			s.Cancelled <- request.GetName()
		}
		return stream.Context().Err()
	}
	if err != nil {
		content = map[string]string{"error": err.Error()}
	}
	text, failed := json.Marshal(content)
	if failed != nil {
		return failed
	}
	return stream.Send(&pb.CallToolResponse{Event: &pb.CallToolResponse_Result{Result: &pb.ToolResult{
		CallId: request.GetCallId(), Name: request.GetName(), ContentJson: string(text), IsError: err != nil}}})
}

// distance returns the length of the great circle between two points, by the haversine formula.
func distance(arguments string) (interface{}, error) {
	var given struct{ From, To [2]float64 }
	if err := json.Unmarshal([]byte(arguments), &given); err != nil {
		return nil, err
	}
	const radians, radius = math.Pi / 180, 6371.0
	a, b, c, d := given.From[0]*radians, given.From[1]*radians, given.To[0]*radians, given.To[1]*radians
	h := math.Pow(math.Sin((c-a)/2), 2) + math.Cos(a)*math.Cos(c)*math.Pow(math.Sin((d-b)/2), 2)
	return map[string]float64{"kilometres": math.Round(2 * radius * math.Asin(math.Sqrt(h)))}, nil
}

func (s *Server) countdown(request *pb.CallToolRequest, stream pb.ToolService_CallToolServer) (interface{}, error) {
	var given struct{ Steps int }
	if err := json.Unmarshal([]byte(request.GetArgumentsJson()), &given); err != nil {
		return nil, err
	}
	for step := 1; step <= given.Steps; step++ {
		progress := &pb.ToolProgress{
			CallId: request.GetCallId(), Message: fmt.Sprintf("step %d", step), Fraction: proto.Float64(float64(step) / float64(given.Steps))}
		if err := stream.Send(&pb.CallToolResponse{Event: &pb.CallToolResponse_Progress{Progress: progress}}); err != nil {
			return nil, err
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-stream.Context().Done():
			return nil, stream.Context().Err()
		}
	}
	return "done", nil
}
