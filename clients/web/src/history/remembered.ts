/**
 * What the list showed when a conversation was opened, to be found again on the way back.
 *
 * In memory only, and forgotten with the sign-in: searched words are what somebody said.
 */

import type { ConversationSummary } from "@parley/stubs/parley/history/v1/history_pb";

import { access } from "@/rpc/clients";

import type { Paged } from "./pages";

let list: Paged<ConversationSummary> | undefined;
let query = "";
let scroll = 0;

/** The list as it was, with how far it was scrolled. */
export function keptList(): Paged<ConversationSummary> | undefined {
  return list;
}

/** Where it was scrolled to, in pixels. */
export function keptScroll(): number {
  return scroll;
}

/** Keeps the list for the way back. */
export function keepList(next: Paged<ConversationSummary>, scrolledTo: number): void {
  list = { ...next, pending: false, problem: null };
  scroll = scrolledTo;
}

/** Forgets the list: it is not true any more. */
export function forgetList(): void {
  list = undefined;
  scroll = 0;
}

/** What was searched for. */
export function keptQuery(): string {
  return query;
}

/** Keeps what is searched for. */
export function keepQuery(next: string): void {
  query = next;
}

access.subscribe(() => {
  if (access.state !== "signed-out") return;
  forgetList();
  query = "";
});
