package node

import (
	"google.golang.org/protobuf/proto"

	lanemesh "lanemesh/sdk/go"
	pb "lanemesh/sdk/go/lanemeshv1"
)

// lastPart returns an item with the last part of its content, and the parts before it.
func lastPart(item *pb.Item, media *pb.Media) (*pb.Item, [][]byte) {
	content := media.GetContent()
	last := (len(content) - 1) / chunkBytes * chunkBytes
	var leading [][]byte
	for start := 0; start < last; start += chunkBytes {
		leading = append(leading, content[start:start+chunkBytes])
	}
	rest := withContent(item, content[last:])
	return rest, leading
}

// withContent returns a copy of an item with another content of its media. The content itself is not copied.
func withContent(item *pb.Item, content []byte) *pb.Item {
	bare := &pb.Item{Group: item.Group, Lineage: item.Lineage, Metadata: item.Metadata, CreatedAt: item.CreatedAt}
	media := &pb.Media{}
	proto.Merge(media, withoutContent(lanemesh.MediaOf(item)))
	media.Content = content
	switch payload := item.GetPayload().(type) {
	case *pb.Item_Image:
		bare.Payload = &pb.Item_Image{Image: media}
	case *pb.Item_Audio:
		bare.Payload = &pb.Item_Audio{Audio: media}
	case *pb.Item_Video:
		bare.Payload = &pb.Item_Video{Video: media}
	case *pb.Item_Document:
		old := payload.Document
		bare.Payload = &pb.Item_Document{Document: &pb.Document{
			Content: old.Content, Id: old.Id, Embedding: old.Embedding, Score: old.Score, Source: old.Source,
			ChunkIndex: old.ChunkIndex, MetadataJson: old.MetadataJson, File: media,
		}}
	}
	return bare
}

func withoutContent(media *pb.Media) *pb.Media {
	return &pb.Media{
		MimeType: media.GetMimeType(), Uri: media.GetUri(), TimestampSeconds: media.TimestampSeconds, Width: media.GetWidth(),
		Height: media.GetHeight(), Rate: media.GetRate(), Channels: media.GetChannels(),
	}
}
