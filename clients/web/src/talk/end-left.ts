/** Ends a talk that another page left open, so that it keeps no place from the next one. */

import { create } from "@bufbuild/protobuf";
import { StartSessionSchema } from "@parley/stubs/parley/conversation/v1/conversation_pb";

import { LiveSession } from "@/transports/session";

import type { LeftTalk } from "./left-talk";
import type { Way } from "./way";

// It takes a fraction of a second; a learner who wants to talk waits no longer for what is past.
const WITHIN_MS = 3_000;

/** Ends it in good order. Resolves when it has, when it was over already, and after 3 s anyway. */
export async function endLeft(left: LeftTalk, way: Way): Promise<void> {
  await new Promise<void>((resolve) => {
    const over = () => {
      clearTimeout(timer);
      resolve();
    };
    const session = new LiveSession(
      way.named(left.transport),
      create(StartSessionSchema),
      { onResponse: () => undefined, onConnection: () => undefined, onEnd: over },
      way.world(() => left.transport),
    );
    const timer = setTimeout(() => {
      session.leave();
      resolve();
    }, WITHIN_MS);
    session.goOn(left);
    session.finish();
  });
}
