package node

import (
	"strings"
	"testing"

	pb "lanemesh/sdk/go/lanemeshv1"
)

func data(text string) *pb.Item {
	return &pb.Item{Payload: &pb.Item_DataJson{DataJson: text}}
}

func tags(text string) *pb.Item {
	return &pb.Item{Payload: &pb.Item_TagsJson{TagsJson: text}}
}

func document(metadata string) *pb.Document {
	return &pb.Document{Content: "a", MetadataJson: metadata}
}

func question(content *pb.Question) *pb.Item {
	return &pb.Item{Payload: &pb.Item_Question{Question: content}}
}

func table(cells ...string) *pb.Item {
	rows := []*pb.TableRow{{}, {CellsJson: cells}}
	return &pb.Item{Payload: &pb.Item_Table{Table: &pb.Table{Columns: []string{"a"}, Rows: rows}}}
}

func nested(levels int) string {
	return strings.Repeat("[", levels) + strings.Repeat("]", levels)
}

func TestItemsWithValidJSONAreTaken(t *testing.T) {
	for _, item := range []*pb.Item{
		data(`null`), data(` [1, -2.5e3, "\u00e9\"[{"] `), data(nested(maxJSONDepth)),
		data(`"` + strings.Repeat("[", 2*maxJSONDepth) + `\\"`), data("[" + strings.Repeat("[],", maxJSONDepth) + "{}]"),
		tags(`{}`), tags("\n{\"a\": [1]}"),
		question(&pb.Question{Text: "a"}),
		question(&pb.Question{SchemaJson: `true`, Tools: []*pb.ToolSpec{{Name: "t"}, {Name: "u", ParametersJson: `{}`}},
			Documents: []*pb.Document{document(""), document(`{"a":1}`)}}),
		{Payload: &pb.Item_Answer{Answer: &pb.Answer{Text: "a"}}},
		{Payload: &pb.Item_Answer{Answer: &pb.Answer{DataJson: `[1]`, ToolCalls: []*pb.ToolCall{{ArgumentsJson: `{`}}}}},
		{Payload: &pb.Item_Document{Document: document("")}},
		table(`1`, `"a"`, `null`),
		{Payload: &pb.Item_Text{Text: "{"}},
		{Group: &pb.Group{Id: "1", Last: true}},
	} {
		if broken := brokenJSON(item); broken != "" {
			t.Errorf("%s: %s", item, broken)
		}
	}
}

func TestItemsWithTextThatIsNotJSONAreViolations(t *testing.T) {
	for _, given := range []struct {
		field string
		item  *pb.Item
	}{
		{"data_json", data(``)}, {"data_json", data(`{`)}, {"data_json", data(`NaN`)}, {"data_json", data(`1 2`)},
		{"data_json", data(`[1,]`)}, {"data_json", data(`01`)}, {"data_json", data("\"\n\"")}, {"data_json", data(nested(maxJSONDepth + 1))},
		{"data_json", data(strings.Repeat(`{"a":`, maxJSONDepth+1) + "1" + strings.Repeat("}", maxJSONDepth+1))},
		{"tags_json", tags(`[1]`)}, {"tags_json", tags(`{"a"}`)}, {"tags_json", tags(``)}, {"tags_json", tags(`null`)},
		{"schema_json", question(&pb.Question{SchemaJson: `{`})},
		{"parameters_json", question(&pb.Question{Tools: []*pb.ToolSpec{{Name: "t", ParametersJson: `{`}}})},
		{"parameters_json", question(&pb.Question{Tools: []*pb.ToolSpec{{Name: "t", ParametersJson: `true`}}})},
		{"metadata_json", question(&pb.Question{Documents: []*pb.Document{document(`[]`)}})},
		{"data_json", &pb.Item{Payload: &pb.Item_Answer{Answer: &pb.Answer{DataJson: `Infinity`}}}},
		{"metadata_json", &pb.Item{Payload: &pb.Item_Document{Document: document(`1`)}}},
		{"cells_json", table(`1`, ``)},
	} {
		if broken := brokenJSON(given.item); !strings.HasPrefix(broken, "`"+given.field+"`") {
			t.Errorf("%s: got %q, not a violation of %s", given.item, broken, given.field)
		}
	}
}
