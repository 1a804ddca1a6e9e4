/** What is said when there is no microphone, and the way on. */

import type { MicrophoneTrouble } from "@/audio/microphone";
import type { Problem } from "@/rpc/problem";

const WORDS: Record<MicrophoneTrouble | "lost", readonly [title: string, advice: string]> = {
  denied: [
    "Parley may not use your microphone.",
    "Allow it with the microphone or lock symbol beside the address, then try again. You can also type.",
  ],
  missing: ["No microphone was found.", "Connect one, then try again. You can also type."],
  busy: [
    "Another program is using your microphone.",
    "Close other calls or recorders, then try again. You can also type.",
  ],
  insecure: [
    "This address is not safe enough for a microphone.",
    "Browsers allow it on https:// or on this machine only. You can type meanwhile.",
  ],
  unsupported: ["This browser cannot use a microphone.", "Try another one, or type."],
  failed: [
    "Your microphone does not start.",
    "Try again, or choose another one. You can also type.",
  ],
  lost: [
    "Your microphone was unplugged.",
    "Plug it in again, or choose another one. The talk goes on: you can type meanwhile.",
  ],
};

/** Puts the trouble into words. */
export function microphoneProblem(trouble: MicrophoneTrouble | "lost"): Problem {
  const [title, advice] = WORDS[trouble];
  return { title, advice, wayOn: "retry", retryAfterMs: 0, fields: {}, detail: "" };
}
