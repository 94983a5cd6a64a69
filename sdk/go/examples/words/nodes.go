// Package words has the node types of the example node server: one of each kind.
package words

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	lanemesh "lanemesh/sdk/go"
	pb "lanemesh/sdk/go/lanemeshv1"
	"lanemesh/sdk/go/node"
)

const text, data = pb.LaneType_LANE_TYPE_TEXT, pb.LaneType_LANE_TYPE_DATA

// Upper is a Process node: it is called for each text.
var Upper = &node.Type{
	Provider:    "go_upper",
	Description: "Writes texts in capitals.",
	Inputs:      []node.Input{{Name: "text", Type: text}},
	Outputs:     []node.Output{{Name: "text", Type: text}},
	Call: func(ctx context.Context, in *node.In) error {
		return in.EmitText("text", strings.ToUpper(in.Text("text")))
	},
}

// Split is a Generate node with a config: it emits any number of items for each text.
var Split = &node.Type{
	Provider:     "go_split",
	Description:  "Splits texts into words.",
	Kind:         node.Generate,
	ConfigSchema: `{"type":"object","properties":{"separator":{"type":"string","default":" "}},"additionalProperties":false}`,
	Inputs:       []node.Input{{Name: "text", Type: text}},
	Outputs:      []node.Output{{Name: "text", Type: text}},
	New: func(config json.RawMessage) (node.Node, error) {
		splitter := &splitter{Separator: " "}
		return splitter, node.Decode(config, splitter)
	},
}

type splitter struct {
	Separator string `json:"separator"`
}

func (s *splitter) Call(ctx context.Context, in *node.In) error {
	for _, word := range strings.Split(in.Text("text"), s.Separator) {
		if err := in.EmitText("text", word); err != nil {
			return err
		}
	}
	return nil
}

// Count is a Run node: it is called once, takes its items itself, and emits one at the end.
var Count = &node.Type{
	Provider:    "go_count",
	Description: "Counts texts and their characters.",
	Kind:        node.Run,
	Inputs:      []node.Input{{Name: "text", Type: text}},
	Outputs:     []node.Output{{Name: "data", Type: data}},
	Call: func(ctx context.Context, in *node.In) error {
		texts, characters := 0, 0
		for {
			item, err := in.Next("text")
			if err == io.EOF {
				break
			}
			if err != nil {
				return err
			}
			texts++
			characters += len([]rune(item.GetText()))
			in.Progress(float64(texts), 0, fmt.Sprintf("%d texts", texts))
		}
		counts, err := lanemesh.Data(map[string]int{"texts": texts, "characters": characters})
		if err != nil {
			return err
		}
		return in.Emit("data", counts)
	},
}

// Pass is a Run node that passes texts on by a channel, as fast as its consumers take them.
var Pass = &node.Type{
	Provider:    "go_pass",
	Description: "Passes texts on.",
	Kind:        node.Run,
	Inputs:      []node.Input{{Name: "text", Type: text}},
	Outputs:     []node.Output{{Name: "text", Type: text}},
	Call: func(ctx context.Context, in *node.In) error {
		for item := range in.Items("text") {
			if err := in.Emit("text", item); err != nil {
				return err
			}
		}
		return nil
	},
}

// Types are all of them.
var Types = []*node.Type{Upper, Split, Count, Pass}
