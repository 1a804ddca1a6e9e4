import { readFileSync } from "node:fs";

import { Code } from "@connectrpc/connect";
import { expect, test } from "vitest";

import { REASONS_WITH_WORDS, problemFromRefusal } from "./problem";
import { refusal } from "./refusal";

test.each([
  ["TOKEN_EXPIRED", Code.Unauthenticated, "sign-in"],
  ["SESSION_ENDED", Code.Unauthenticated, "sign-in"],
  ["AT_CAPACITY", Code.ResourceExhausted, "retry"],
  ["TOO_MANY_CONVERSATIONS", Code.ResourceExhausted, "retry"],
  ["ENGINE_UNAVAILABLE", Code.Unavailable, "retry"],
  ["UNKNOWN_VOICE", Code.InvalidArgument, "use-default"],
  ["CONVERSATION_IDLE", Code.DeadlineExceeded, "start-new"],
])("%s has words of its own and a way on", (reason, code, wayOn) => {
  const problem = problemFromRefusal(refusal(code, "server's words", reason));
  expect(problem.wayOn).toBe(wayOn);
  expect(problem.title).not.toContain("server's words");
  expect(problem.title).toMatch(/[.!?]$/);
  expect(problem.detail).toContain(reason);
});

test("a server that does not answer is told as that, not as a bug of ours", () => {
  const problem = problemFromRefusal(refusal(Code.Unavailable, "Failed to fetch"));
  expect(problem).toMatchObject({ title: "Parley does not answer.", wayOn: "retry" });
});

test("a reason that this page does not know yet is told in the server's words", () => {
  const problem = problemFromRefusal(refusal(Code.FailedPrecondition, "the moon is full", "MOON"));
  expect(problem.title).toBe("The moon is full");
});

test("a bug shows no innards, but keeps them for a report", () => {
  const problem = problemFromRefusal(refusal(Code.Internal, "KeyError: x", "INTERNAL"));
  expect(problem.title).not.toContain("KeyError");
  expect(problem.detail).toContain("INTERNAL");
});

test("wrong fields are named by their path", () => {
  const wrong = {
    ...refusal(Code.InvalidArgument, "bad", "INVALID_REQUEST"),
    violations: [{ field: "password", description: "too short" }],
  };
  expect(problemFromRefusal(wrong).fields).toEqual({ password: "too short" });
});

test("every reason of the server has words, but for those that no page can meet", () => {
  const page = readFileSync("../../docs/errors.md", "utf8");
  const declared = [...page.matchAll(/^\| `([A-Z_]+)` \|/gm)].map((match) => match[1] ?? "");
  expect(declared.length).toBeGreaterThan(60);
  const unmet = new Set([
    // Between services.
    "SERVICE_IDENTITY_REQUIRED",
    "SERVICE_IDENTITY_INVALID",
    "AUDIO_TOO_LONG",
    "EVENT_CONFLICT",
    "EVENT_INVALID",
    "RECORDING_CONFLICT",
    "RECORDING_TAKEN_OVER",
    // Of methods that the page does not call.
    "BAD_AUDIO",
    "NO_AUDIO",
    "FILE_TOO_LARGE",
    "LINKS_NOT_SUPPORTED",
  ]);
  const own = new Set(["OFFLINE", "CONNECTION_LOST", "FINISH_UNANSWERED", "PAGE_OUTDATED"]);
  const met = declared.filter((reason) => !unmet.has(reason));
  const worded = REASONS_WITH_WORDS.filter((reason) => !own.has(reason));
  expect(worded.toSorted()).toEqual(met.toSorted());
});
