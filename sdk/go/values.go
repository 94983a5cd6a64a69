package lanemesh

import (
	"encoding/json"
	"fmt"

	"google.golang.org/grpc/codes"

	pb "lanemesh/sdk/go/lanemeshv1"
)

// Item is one value on a lane, with its envelope.
type Item = pb.Item

// Text returns an item of a lane of type text.
func Text(text string) *Item { return &Item{Payload: &pb.Item_Text{Text: valid(text)}} }

// Data returns an item of a lane of type data: any value that encoding/json can encode. It fails if it cannot.
func Data(value interface{}) (*Item, error) {
	text, err := json.Marshal(value)
	if err != nil {
		return nil, &Error{Code: codes.InvalidArgument, Reason: "wrong-value", Message: fmt.Sprintf("%T is no JSON value: %s", value, err)}
	}
	return &Item{Payload: &pb.Item_DataJson{DataJson: string(text)}}, nil
}

// Question returns an item of a lane of type questions.
func Question(question *pb.Question) *Item {
	return &Item{Payload: &pb.Item_Question{Question: question}}
}

// Answer returns an item of a lane of type answers.
func Answer(answer *pb.Answer) *Item { return &Item{Payload: &pb.Item_Answer{Answer: answer}} }

// Document returns an item of a lane of type documents.
func Document(document *pb.Document) *Item {
	return &Item{Payload: &pb.Item_Document{Document: document}}
}

// Image returns an item of a lane of type image.
func Image(media *pb.Media) *Item { return &Item{Payload: &pb.Item_Image{Image: media}} }

// Audio returns an item of a lane of type audio.
func Audio(media *pb.Media) *Item { return &Item{Payload: &pb.Item_Audio{Audio: media}} }

// Video returns an item of a lane of type video.
func Video(media *pb.Media) *Item { return &Item{Payload: &pb.Item_Video{Video: media}} }

// TypeOf returns the lane type of an item; unspecified for one that carries only an envelope.
func TypeOf(item *Item) pb.LaneType {
	switch item.GetPayload().(type) {
	case *pb.Item_Text:
		return pb.LaneType_LANE_TYPE_TEXT
	case *pb.Item_Question:
		return pb.LaneType_LANE_TYPE_QUESTIONS
	case *pb.Item_Answer:
		return pb.LaneType_LANE_TYPE_ANSWERS
	case *pb.Item_Document:
		return pb.LaneType_LANE_TYPE_DOCUMENTS
	case *pb.Item_Table:
		return pb.LaneType_LANE_TYPE_TABLE
	case *pb.Item_TagsJson:
		return pb.LaneType_LANE_TYPE_TAGS
	case *pb.Item_Image:
		return pb.LaneType_LANE_TYPE_IMAGE
	case *pb.Item_Audio:
		return pb.LaneType_LANE_TYPE_AUDIO
	case *pb.Item_Video:
		return pb.LaneType_LANE_TYPE_VIDEO
	case *pb.Item_DataJson:
		return pb.LaneType_LANE_TYPE_DATA
	}
	return pb.LaneType_LANE_TYPE_UNSPECIFIED
}

// TextOf returns the text of an item: of a text, a question, a piece of an answer or a document; otherwise its JSON, or nothing.
func TextOf(item *Item) string {
	switch payload := item.GetPayload().(type) {
	case *pb.Item_Text:
		return payload.Text
	case *pb.Item_Question:
		return payload.Question.GetText()
	case *pb.Item_Answer:
		if payload.Answer.GetText() == "" {
			return payload.Answer.GetDataJson()
		}
		return payload.Answer.GetText()
	case *pb.Item_Document:
		return payload.Document.GetContent()
	case *pb.Item_TagsJson:
		return payload.TagsJson
	case *pb.Item_DataJson:
		return payload.DataJson
	}
	return ""
}

// MediaOf returns the media of an item of a lane of type image, audio or video, or the file of a document; nil if there is none.
func MediaOf(item *Item) *pb.Media {
	switch payload := item.GetPayload().(type) {
	case *pb.Item_Image:
		return payload.Image
	case *pb.Item_Audio:
		return payload.Audio
	case *pb.Item_Video:
		return payload.Video
	case *pb.Item_Document:
		return payload.Document.GetFile()
	}
	return nil
}
