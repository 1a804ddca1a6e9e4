// Long after any browser has begun to write the file.
const KEPT_MS = 60_000;

/** Hands a file to the browser, which saves it where its owner keeps downloads. */
export function saveFile(blob: Blob, name: string): void {
  const url = URL.createObjectURL(blob);
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), KEPT_MS);
}
