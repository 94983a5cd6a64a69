package node

import (
	"encoding/json"
	"fmt"

	lanemesh "lanemesh/sdk/go"
	pb "lanemesh/sdk/go/lanemeshv1"
)

const maxJSONDepth = 100 // brackets that are open at once

// brokenJSON returns how an item breaks the rule that its fields of JSON are valid; empty: it does not. Arguments of tool calls are not
// checked: a model writes them, and they may be wrong.
func brokenJSON(item *lanemesh.Item) string {
	switch payload := item.GetPayload().(type) {
	case *pb.Item_TagsJson:
		return brokenObject("tags_json", payload.TagsJson)
	case *pb.Item_DataJson:
		return brokenValue("data_json", payload.DataJson)
	case *pb.Item_Question:
		return brokenQuestion(payload.Question)
	case *pb.Item_Answer:
		if data := payload.Answer.GetDataJson(); data != "" {
			return brokenValue("data_json", data)
		}
	case *pb.Item_Document:
		return brokenDocument(payload.Document)
	case *pb.Item_Table:
		for _, row := range payload.Table.GetRows() {
			for _, cell := range row.GetCellsJson() {
				if broken := brokenValue("cells_json", cell); broken != "" {
					return broken
				}
			}
		}
	}
	return ""
}

func brokenQuestion(question *pb.Question) string {
	if schema := question.GetSchemaJson(); schema != "" {
		if broken := brokenValue("schema_json", schema); broken != "" {
			return broken
		}
	}
	for _, tool := range question.GetTools() {
		if parameters := tool.GetParametersJson(); parameters != "" {
			if broken := brokenObject("parameters_json", parameters); broken != "" {
				return broken
			}
		}
	}
	for _, document := range question.GetDocuments() {
		if broken := brokenDocument(document); broken != "" {
			return broken
		}
	}
	return ""
}

func brokenDocument(document *pb.Document) string {
	if metadata := document.GetMetadataJson(); metadata != "" {
		return brokenObject("metadata_json", metadata)
	}
	return ""
}

func brokenValue(field, text string) string {
	if isJSON([]byte(text)) {
		return ""
	}
	return fmt.Sprintf("`%s` of an item is not JSON of at most %d levels", field, maxJSONDepth)
}

func brokenObject(field, text string) string {
	if content := []byte(text); isJSON(content) && startsObject(content) {
		return ""
	}
	return fmt.Sprintf("`%s` of an item is not a JSON object of at most %d levels", field, maxJSONDepth)
}

// isJSON reports whether a text is one JSON value (RFC 8259) of at most maxJSONDepth levels.
func isJSON(text []byte) bool {
	return json.Valid(text) && depthOf(text) <= maxJSONDepth
}

// startsObject reports whether a valid JSON text is an object.
func startsObject(text []byte) bool {
	for _, char := range text {
		switch char {
		case ' ', '\t', '\n', '\r':
		default:
			return char == '{'
		}
	}
	return false
}

// depthOf returns the most brackets of a valid JSON text that are open at once.
func depthOf(text []byte) int {
	depth, deepest, inString := 0, 0, false
	for i := 0; i < len(text); i++ {
		switch char := text[i]; {
		case inString && char == '\\':
			i++
		case char == '"':
			inString = !inString
		case inString:
		case char == '[' || char == '{':
			depth++
			if depth > deepest {
				deepest = depth
			}
		case char == ']' || char == '}':
			depth--
		}
	}
	return deepest
}
