/** Short remarks at the foot of the page: what was just done, with a way to undo it. */

export interface Toast {
  readonly id: number;
  readonly text: string;
  /** A button: its words and what it does. The remark goes when it is pressed. */
  readonly action?: { readonly label: string; readonly run: () => void };
}

// As long as it takes to read a sentence twice and to reach for "Undo".
const SHOWN_MS = 7_000;
// More would cover the page; the oldest goes first.
const MOST = 3;

let toasts: readonly Toast[] = [];
let nextId = 1;
const listeners = new Set<() => void>();

function set(next: readonly Toast[]): void {
  toasts = next;
  for (const listener of [...listeners]) listener();
}

/** Shows a remark for a while; returns what takes it away. */
export function toast(text: string, action?: Toast["action"]): () => void {
  const id = nextId++;
  set([...toasts, { id, text, ...(action && { action }) }].slice(-MOST));
  const timer = setTimeout(() => dismiss(id), SHOWN_MS);
  return () => {
    clearTimeout(timer);
    dismiss(id);
  };
}

/** Takes a remark away. */
export function dismiss(id: number): void {
  set(toasts.filter((each) => each.id !== id));
}

export const toastStore = {
  subscribe: (listener: () => void): (() => void) => {
    listeners.add(listener);
    return () => listeners.delete(listener);
  },
  get: (): readonly Toast[] => toasts,
};
