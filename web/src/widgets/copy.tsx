/** A button that copies a text. */
import { useState } from "preact/hooks";
import { Icon } from "../app/icons.tsx";
import { notifyError } from "../app/notices.tsx";

export function CopyButton({ text, label = "Copy" }: { text: string; label?: string }) {
  const [copied, setCopied] = useState(false);
  const copy = async (): Promise<void> => {
    try {
      await navigator.clipboard.writeText(text);
      setCopied(true);
      setTimeout(() => setCopied(false), 1500);
    } catch (error) {
      notifyError(error);
    }
  };
  return (
    <button type="button" class="button quiet small copy" onClick={() => void copy()}>
      <Icon name={copied ? "check" : "copy"} size={15} />
      {copied ? "Copied" : label}
    </button>
  );
}
