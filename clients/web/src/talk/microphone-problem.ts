/** What is said when there is no microphone, and the way on. */

import type { MicrophoneTrouble } from "@/audio/microphone";
import type { Problem } from "@/rpc/problem";

const WORDS: Record<Trouble, readonly [title: string, advice: string]> = {
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
  silenced: [
    "Your microphone is held silent.",
    "A call, another program or a switch on it does that. We go on listening when it is let go.",
  ],
  lost: [
    "Your microphone was unplugged.",
    "Plug it in again, or choose another one. The talk goes on: you can type meanwhile.",
  ],
};

/** What can be in the way of a microphone, before a talk or in the middle. */
export type Trouble = MicrophoneTrouble | "lost" | "silenced";

/** Puts the trouble into words. */
export function microphoneProblem(trouble: Trouble): Problem {
  const [title, advice] = WORDS[trouble];
  return { title, advice, wayOn: "retry", retryAfterMs: 0, fields: {}, detail: "" };
}
