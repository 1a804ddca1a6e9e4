/** The deletions of this page, carried out at the history service. */

import { Code, createClient } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";
import { HistoryService } from "@parley/stubs/parley/history/v1/history_pb";

import { beforeSignOut } from "@/auth/session";
import { CLIENT_HEADER, access, histories } from "@/rpc/clients";
import { refusalFromError } from "@/rpc/refusal";

import { Deletions } from "./deletions";

// Ids only. They say nothing to anybody else, and the server deletes nobody's but the caller's.
const KEY = "parley.deletions";

// The browser finishes these calls after the page has gone.
const leaving = createClient(
  HistoryService,
  createGrpcWebTransport({
    baseUrl: globalThis.location.origin,
    useBinaryFormat: true,
    interceptors: [
      (next) => async (request) => {
        request.header.set(CLIENT_HEADER.name, CLIENT_HEADER.value);
        request.header.set("authorization", `Bearer ${await access.token()}`);
        return next(request);
      },
    ],
    fetch: (input, init) => fetch(input, { ...init, keepalive: true }),
  }),
);

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
    leaving.deleteConversation({ conversationId }).catch(() => {
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
        const kept: unknown = JSON.parse(localStorage.getItem(KEY) ?? "[]");
        return Array.isArray(kept) ? kept.filter((each) => typeof each === "string") : [];
      } catch {
        return [];
      }
    },
    set: (ids) => {
      try {
        if (ids.length > 0) localStorage.setItem(KEY, JSON.stringify(ids));
        else localStorage.removeItem(KEY);
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
