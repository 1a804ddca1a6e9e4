/** Which way a talk takes to the server, and the session over it. */

import { access } from "@/rpc/clients";
import { type Choice, chooseTransport, hasRequestStreams, pageProtocol } from "@/transports/choose";
import type { SessionTransport, TransportName } from "@/transports/link";
import { Push } from "@/transports/push";
import type { SessionWorld } from "@/transports/session";
import { upload } from "@/transports/upload";
import { websocket } from "@/transports/websocket";

/** The choice of a way, and what was learned of those that failed. */
export class Way {
  #choice: Choice = { name: "push", why: "" };
  #failed: TransportName | undefined;

  /** What was chosen last, and why. */
  get choice(): Choice {
    return this.#choice;
  }

  /** Chooses for a talk that begins now. */
  choose(preferred: TransportName | "auto"): SessionTransport {
    this.#choice = chooseTransport({
      requestStreams: hasRequestStreams(),
      protocol: pageProtocol(),
      preferred,
      ...(this.#failed && { failed: this.#failed }),
    });
    return this.named(this.#choice.name);
  }

  /** The way with this name, for a session that it held before. */
  named(name: TransportName): SessionTransport {
    if (name === "upload") return upload;
    return name === "websocket" ? websocket : new Push();
  }

  /** What a session needs of this browser; another way is found where the first never worked. */
  world(preferred: () => TransportName | "auto"): SessionWorld {
    return {
      now: () => performance.now(),
      after: (ms, run) => {
        const timer = setTimeout(run, ms);
        return () => clearTimeout(timer);
      },
      renew: () => access.renew(),
      fallback: (failed) => {
        if (failed.name !== "upload") return null;
        this.#failed = "upload";
        const other = this.choose(preferred());
        return other.name === "push" ? other : null;
      },
    };
  }
}
