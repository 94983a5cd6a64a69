/** Images, players and downloads of media. Media elsewhere is linked, not loaded: the page requests nothing from other sites. */
import { useEffect, useState } from "preact/hooks";
import { bytes } from "../app/format.ts";
import { Icon } from "../app/icons.tsx";
import type { Media } from "../app/types.ts";

export function isMedia(value: unknown): value is Media {
  return typeof value === "object" && value !== null && typeof (value as Media).mime_type === "string";
}

/** `fileName`: the name of a download, if it is known. */
export function MediaView({ media, name = "output", fileName }: { media: Media; name?: string; fileName?: string }) {
  const url = useBlobUrl(media);
  if (!url) {
    if (media.uri && /^https?:/i.test(media.uri)) {
      return (
        <a href={media.uri} target="_blank" rel="noopener noreferrer">
          {media.mime_type} at {media.uri}
        </a>
      );
    }
    return <span class="soft">{media.uri ? `${media.mime_type} at ${media.uri}` : `${media.mime_type}, empty`}</span>;
  }
  const kind = media.mime_type.split("/")[0];
  const size = `${media.mime_type} · ${bytes(media.bytes ?? 0)}`;
  return (
    <figure class="media">
      {kind === "image" && <img src={url} alt={`Image from ${name}`} width={media.width} height={media.height} />}
      {kind === "audio" && <audio src={url} controls aria-label={`Audio from ${name}`} />}
      {kind === "video" && <video src={url} controls aria-label={`Video from ${name}`} />}
      <figcaption>
        <span>{size}</span>
        <a class="button quiet small" href={url} download={fileName || `${name}.${extension(media.mime_type)}`}>
          <Icon name="download" size={15} />
          Download
        </a>
      </figcaption>
    </figure>
  );
}

/** An address of the content of media, for as long as the component lives; empty: it has none. */
export function useBlobUrl(media: Media): string {
  const [url, setUrl] = useState("");
  useEffect(() => {
    if (!media.content) return setUrl("");
    const made = URL.createObjectURL(new Blob([bytesOf(media.content)], { type: media.mime_type }));
    setUrl(made);
    return () => URL.revokeObjectURL(made);
  }, [media.content, media.mime_type]);
  return url;
}

/** The bytes of a base64 text; none if it is not one. */
export function bytesOf(base64: string): Uint8Array<ArrayBuffer> {
  try {
    return Uint8Array.from(atob(base64), (one) => one.charCodeAt(0));
  } catch {
    return new Uint8Array();
  }
}

function extension(mimeType: string): string {
  const name = mimeType.split(/[;+]/)[0]!.split("/")[1] ?? "bin";
  return { mpeg: "mp3", "x-wav": "wav", plain: "txt", "octet-stream": "bin" }[name] ?? name;
}
