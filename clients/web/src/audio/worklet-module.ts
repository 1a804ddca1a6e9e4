/** Fetches the code of an audio worklet, and finds out why where it cannot be had. */

import { Code } from "@connectrpc/connect";

import { type Refusal, RefusedError, refusal } from "@/rpc/refusal";

/**
 * Loads the worklets of the file at `url`.
 *
 * Throws RefusedError: the server is away, or serves another build and has this file no more. The
 * sound system itself is never at fault here.
 */
export async function addWorklet(context: AudioContext, url: string): Promise<void> {
  try {
    await context.audioWorklet.addModule(url);
  } catch {
    throw new RefusedError(await whyNot(url));
  }
}

/** The sound system says only that it failed: the same file is asked for again, to be told more. */
async function whyNot(url: string): Promise<Refusal> {
  if (!navigator.onLine) return refusal(Code.Unavailable, "offline", "OFFLINE");
  try {
    const { status, headers } = await fetch(url, { cache: "no-store" });
    const isCode = status === 200 && (headers.get("content-type") ?? "").includes("javascript");
    if (status < 500 && !isCode) {
      return refusal(Code.NotFound, `HTTP ${status} for ${url}`, "PAGE_OUTDATED");
    }
    return refusal(Code.Unavailable, `HTTP ${status} for ${url}`);
  } catch {
    return refusal(Code.Unavailable, `no answer for ${url}`);
  }
}
