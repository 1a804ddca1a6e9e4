import { useSyncExternalStore } from "react";

import { IconButton } from "@/ui/Button";

import { dismiss, toastStore } from "./toasts";
import "./toasts.css";

/** Where remarks appear. Always in the page, so that screen readers hear what is added. */
export function Toasts() {
  const toasts = useSyncExternalStore(toastStore.subscribe, toastStore.get);
  return (
    <div className="toasts" role="status" aria-live="polite">
      {toasts.map(({ id, text, action }) => (
        <div className="toast" key={id}>
          <span>{text}</span>
          {action && (
            <button
              type="button"
              className="toast-action"
              onClick={() => {
                action.run();
                dismiss(id);
              }}
            >
              {action.label}
            </button>
          )}
          <IconButton icon="close" label="Dismiss" size={16} onClick={() => dismiss(id)} />
        </div>
      ))}
    </div>
  );
}
