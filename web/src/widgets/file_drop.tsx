/** An area that takes dropped files, and a button that opens the file dialog. */
import type { ComponentChildren } from "preact";
import { useRef, useState } from "preact/hooks";
import { Icon } from "../app/icons.tsx";

export interface FileDropProps {
  onFiles(files: File[]): void;
  /** As the attribute of an input, such as ".pipe,.json". */
  accept?: string;
  multiple?: boolean;
  label: string;
  children?: ComponentChildren;
}

export function FileDrop({ onFiles, accept, multiple = false, label, children }: FileDropProps) {
  const [over, setOver] = useState(0);
  const input = useRef<HTMLInputElement>(null);
  const take = (list: FileList | null | undefined): void => {
    const files = [...(list ?? [])];
    if (files.length) onFiles(multiple ? files : files.slice(0, 1));
  };
  return (
    <div
      class={over ? "file-drop over" : "file-drop"}
      onDragEnter={(event) => (event.preventDefault(), setOver((depth) => depth + 1))}
      onDragLeave={() => setOver((depth) => Math.max(0, depth - 1))}
      onDragOver={(event) => event.preventDefault()}
      onDrop={(event) => (event.preventDefault(), setOver(0), take(event.dataTransfer?.files))}
    >
      {children}
      <button type="button" class="button" onClick={() => input.current?.click()}>
        <Icon name="upload" size={16} />
        {label}
      </button>
      <input
        ref={input}
        class="hidden-visually"
        type="file"
        tabIndex={-1}
        aria-label={label}
        accept={accept}
        multiple={multiple}
        onChange={(event) => {
          take(event.currentTarget.files);
          event.currentTarget.value = "";
        }}
      />
    </div>
  );
}
