/** The deletions of this page, carried out at the history service. */

import { Code } from "@connectrpc/connect";

import { beforeSignOut } from "@/auth/session";
import { keep, keptJson } from "@/device/kept";
import { access, histories, leaving } from "@/rpc/clients";
import { refusalFromError } from "@/rpc/refusal";

import { Deletions } from "./deletions";

// Ids only, apart for each account: whoever signs in next at this browser finds none of another's.
const KEY = "parley.deletions.";

/** Where the account's own are kept; nowhere while it is not known whose they are. */
function key(): string {
  return access.userId && KEY + access.userId;
}

/** What is on its way to be deleted. */
export const deletions = new Deletions({
  erase: async (conversationId) => {
    try {
      await histories.deleteConversation({ conversationId });
    } catch (error) {
      // Gone already, or never this learner's: there is nothing left to do.
      if (refusalFromError(error).code !== Code.NotFound) throw error;
    }
  },
  eraseLeaving: (conversationId) => {
    leaving.histories.deleteConversation({ conversationId }).catch(() => {
      // The decision is kept; the next visit carries it out.
    });
  },
  after: (ms, run) => {
    const timer = setTimeout(run, ms);
    return () => clearTimeout(timer);
  },
  kept: {
    get: () => {
      const ids = key() ? keptJson(key()) : [];
      return Array.isArray(ids) ? ids.filter((each) => typeof each === "string") : [];
    },
    set: (ids) => {
      if (key()) keep(key(), ids.length > 0 ? JSON.stringify(ids) : null);
    },
  },
});

addEventListener("pagehide", () => deletions.leave());
addEventListener("pageshow", (event) => {
  if (event.persisted) deletions.returned();
});
beforeSignOut(() => deletions.settle());
access.subscribe(() => {
  if (access.state === "signed-out") deletions.forget();
});
