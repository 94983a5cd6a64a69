/** A button that records the microphone. */
import { useEffect, useRef, useState } from "preact/hooks";
import { Icon } from "../app/icons.tsx";
import { notify } from "../app/notices.tsx";

/** Longest recording, in seconds. */
const MOST_SECONDS = 300;

export function Microphone({ disabled, onRecorded }: { disabled: boolean; onRecorded(file: File): void }) {
  const [passed, setPassed] = useState<number>();
  const recorder = useRef<MediaRecorder | undefined>(undefined);
  const recording = passed !== undefined;

  useEffect(() => {
    if (!recording) return;
    const begun = Date.now();
    const timer = setInterval(() => {
      const now = Math.floor((Date.now() - begun) / 1000);
      setPassed(now);
      if (now >= MOST_SECONDS) recorder.current?.stop();
    }, 500);
    return () => clearInterval(timer);
  }, [recording]);
  useEffect(() => () => release(recorder.current), []);

  const start = async (): Promise<void> => {
    try {
      const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
      const made = new MediaRecorder(stream);
      const pieces: Blob[] = [];
      made.ondataavailable = (event) => pieces.push(event.data);
      made.onstop = () => {
        release(made);
        setPassed(undefined);
        const type = made.mimeType.split(";")[0] || "audio/webm";
        onRecorded(new File(pieces, `recording.${type.split("/")[1]}`, { type }));
      };
      recorder.current = made;
      made.start();
      setPassed(0);
    } catch (error) {
      const reason = navigator.mediaDevices ? (error as Error).message : "browsers allow it on localhost and over HTTPS alone";
      notify(`The microphone cannot be used: ${reason}`, true);
    }
  };

  return (
    <button
      type="button"
      class={recording ? "button danger recording" : "button quiet icon-only"}
      disabled={disabled}
      aria-pressed={recording}
      aria-label={recording ? "Stop recording" : "Record audio"}
      title={recording ? "Stop recording" : "Record audio"}
      onClick={() => (recording ? recorder.current?.stop() : void start())}
    >
      <Icon name={recording ? "stop" : "microphone"} size={18} />
      {recording && <span class="number">{`${Math.floor(passed / 60)}:${String(passed % 60).padStart(2, "0")}`}</span>}
    </button>
  );
}

function release(recorder: MediaRecorder | undefined): void {
  for (const track of recorder?.stream.getTracks() ?? []) track.stop();
}
