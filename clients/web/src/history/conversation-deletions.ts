/** The deletions of this page, carried out at the history service. */

import { Code } from "@connectrpc/connect";

import { beforeSignOut } from "@/auth/session";
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
      try {
        const kept: unknown = JSON.parse((key() && localStorage.getItem(key())) || "[]");
        return Array.isArray(kept) ? kept.filter((each) => typeof each === "string") : [];
      } catch {
        return [];
      }
    },
    set: (ids) => {
      try {
        if (!key()) return;
        if (ids.length > 0) localStorage.setItem(key(), JSON.stringify(ids));
        else localStorage.removeItem(key());
      } catch {
        // Kept as long as the page.
      }
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
