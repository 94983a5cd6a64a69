// Package conformance has the node types with which `lanemesh conformance` tests a node server of this package. docs/protocol.md
// describes them.
package conformance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	pb "lanemesh/sdk/go/lanemeshv1"
	"lanemesh/sdk/go/node"
)

const (
	text     = pb.LaneType_LANE_TYPE_TEXT
	failText = "fail" // the text at which two of the node types fail
)

var (
	oneText = []node.Input{{Name: "text", Type: text}}
	oneOut  = []node.Output{{Name: "out", Type: text}}
)

// TypesAs returns Types under names that begin with another word than "conformance", so that a mesh can have those of several servers.
func TypesAs(name string) []*node.Type {
	var types []*node.Type
	for _, one := range Types {
		renamed := *one
		renamed.Provider = name + strings.TrimPrefix(one.Provider, "conformance")
		types = append(types, &renamed)
	}
	return types
}

// Types are the node types of the levels L0 to L2.
var Types = []*node.Type{
	{
		Provider: "conformance_echo", Description: "Sends every text on.", Inputs: oneText, Outputs: oneOut,
		Call: func(ctx context.Context, in *node.In) error { return in.EmitText("out", in.Text("text")) },
	},
	{
		Provider: "conformance_source", Description: `Sends the texts "0", "1" and so on, then ends.`, Kind: node.Run, Outputs: oneOut,
		ConfigSchema: integerSchema("count", 0, 3),
		New: func(config json.RawMessage) (node.Node, error) {
			count, err := integer(config, "count", 0, 3)
			return node.Func(func(ctx context.Context, in *node.In) error {
				for number := 0; number < count; number++ {
					if err := in.EmitText("out", strconv.Itoa(number)); err != nil {
						return err
					}
				}
				return nil
			}), err
		},
	},
	{
		Provider: "conformance_sink", Description: "Takes every text and sends nothing.", Inputs: oneText,
		Call: func(ctx context.Context, in *node.In) error { return nil },
	},
	{
		Provider: "conformance_count", Description: "Sends the number of texts as one text, when its input has ended.", Kind: node.Run,
		Inputs: oneText, Outputs: oneOut,
		Call: func(ctx context.Context, in *node.In) error {
			count := 0
			for {
				_, err := in.Next("text")
				if err == io.EOF {
					return in.EmitText("out", strconv.Itoa(count))
				}
				if err != nil {
					return err
				}
				count++
			}
		},
	},
	{
		Provider: "conformance_slow", Description: "Waits before it sends each text on.", Inputs: oneText, Outputs: oneOut,
		ConfigSchema: integerSchema("milliseconds", 0, 50),
		New: func(config json.RawMessage) (node.Node, error) {
			milliseconds, err := integer(config, "milliseconds", 0, 50)
			return node.Func(func(ctx context.Context, in *node.In) error {
				select {
				case <-time.After(time.Duration(milliseconds) * time.Millisecond):
					return in.EmitText("out", in.Text("text"))
				case <-ctx.Done():
					return ctx.Err()
				}
			}), err
		},
	},
	{
		Provider: "conformance_fail", Description: `Sends every text on, and fails at the text "fail".`, Inputs: oneText, Outputs: oneOut,
		Call: func(ctx context.Context, in *node.In) error {
			if in.Text("text") == failText {
				return errors.New("conformance_fail got the text that it fails at")
			}
			return in.EmitText("out", in.Text("text"))
		},
	},
	{
		Provider: "conformance_first", Description: "Sends the first texts on and ends, which stops its input.", Kind: node.Run,
		Inputs: oneText, Outputs: oneOut, ConfigSchema: integerSchema("count", 1, 1),
		New: func(config json.RawMessage) (node.Node, error) {
			count, err := integer(config, "count", 1, 1)
			return node.Func(func(ctx context.Context, in *node.In) error {
				for left := count; left > 0; left-- {
					item, err := in.Next("text")
					if err == io.EOF {
						return nil
					}
					if err != nil {
						return err
					}
					if err := in.Emit("out", item); err != nil {
						return err
					}
				}
				return nil
			}), err
		},
	},
	values(),
	{
		Provider: "conformance_pieces", Description: `Splits each text into its characters, as the pieces of one group; fails at the text ` +
			`"fail", after its first piece.`,
		Kind: node.Generate, Inputs: oneText, Outputs: []node.Output{{Name: "out", Type: text, Pieces: true}},
		Call: func(ctx context.Context, in *node.In) error {
			for _, character := range in.Text("text") {
				if err := in.EmitText("out", string(character)); err != nil {
					return err
				}
				if in.Text("text") == failText {
					return errors.New("conformance_pieces got the text that it fails at")
				}
			}
			return nil
		},
	},
	{
		Provider: "conformance_whole", Description: "Assembles the pieces of each group, and sends the whole text.",
		Inputs: []node.Input{{Name: "text", Type: text, Assembled: true}}, Outputs: oneOut,
		Call: func(ctx context.Context, in *node.In) error { return in.EmitText("out", in.Text("text")) },
	},
}

// values is a node type with an input and an output of each lane type.
func values() *node.Type {
	names := []string{"text", "questions", "answers", "documents", "table", "tags", "image", "audio", "video", "data"}
	t := &node.Type{
		Provider: "conformance_values", Description: "Sends every value on: one input and one output for each lane type.", Kind: node.Run,
		Call: func(ctx context.Context, in *node.In) error {
			for {
				input, item, err := in.NextAny()
				if err == io.EOF {
					return nil
				}
				if err != nil {
					return err
				}
				if err := in.Emit("out_"+input, item); err != nil && err != node.ErrStopped {
					return err
				}
			}
		},
	}
	for i, name := range names {
		kind := pb.LaneType(i + 1)
		t.Inputs = append(t.Inputs, node.Input{Name: name, Type: kind, Optional: true})
		t.Outputs = append(t.Outputs, node.Output{Name: "out_" + name, Type: kind})
	}
	return t
}

func integerSchema(name string, least, usual int) string {
	return fmt.Sprintf(`{"type":"object","properties":{%q:{"type":"integer","minimum":%d,"default":%d}},"additionalProperties":false}`,
		name, least, usual)
}

// integer reads the only setting of a config.
func integer(config json.RawMessage, name string, least, usual int) (int, error) {
	given := map[string]int{}
	if err := json.Unmarshal(config, &given); err != nil {
		return 0, err
	}
	value := usual
	for key, number := range given {
		if key != name {
			return 0, fmt.Errorf("there is no setting %q; there is %q", key, name)
		}
		value = number
	}
	if value < least {
		return 0, fmt.Errorf("%s is at least %d, not %d", name, least, value)
	}
	return value, nil
}
