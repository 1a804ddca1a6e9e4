/** A name typed on one of the two forms that belongs on the other. Kept for one change of page. */

let name = "";

/** Leaves a name for the other form. */
export function handOverName(typed: string): void {
  name = typed;
}

/** Takes the name that the other form left; empty where it left none. */
export function handedOverName(): string {
  const left = name;
  // After the first paint: React may ask twice while it tries a page out.
  queueMicrotask(() => {
    name = "";
  });
  return left;
}
