import { Code } from "@connectrpc/connect";
import { beforeEach, describe, expect, test } from "vitest";

import { refusal } from "@/rpc/refusal";

import { RECONNECT_FOR_MS, Retries } from "./retries";

const BROKEN = refusal(Code.Unavailable, "cut");
const FULL = refusal(Code.ResourceExhausted, "full", "AT_CAPACITY");
const EXPIRED = refusal(Code.Unauthenticated, "expired", "TOKEN_EXPIRED");
let retries: Retries;

beforeEach(() => {
  retries = new Retries();
});

describe("a session that was never let in", () => {
  test("knocks three times where nobody was there, each time later", () => {
    const nexts = [1, 2, 3].map(() => retries.after(BROKEN, false, 0));
    expect(nexts).toEqual([
      { kind: "wait", ms: 500, lost: false },
      { kind: "wait", ms: 1_000, lost: false },
      { kind: "over", why: BROKEN },
    ]);
  });

  test("takes any other refusal for what it is", () => {
    expect(retries.after(FULL, false, 0)).toEqual({ kind: "over", why: FULL });
  });

  test("does not knock again where nobody answered for long", () => {
    retries.unanswered();
    expect(retries.after(BROKEN, false, 0)).toEqual({ kind: "over", why: BROKEN });
  });

  test("waits as long as it is told to, within reason", () => {
    const busy = { ...BROKEN, retryAfterMs: 60_000 };
    expect(retries.after(busy, false, 0)).toEqual({ kind: "wait", ms: 3_000, lost: false });
  });
});

describe("a session that has begun", () => {
  beforeEach(() => {
    retries.connected();
  });

  test("tells once that its connection was lost, and once that it is back", () => {
    const nexts = [0, 250].map((now) => retries.after(BROKEN, true, now));
    expect(nexts).toEqual([
      { kind: "wait", ms: 250, lost: true },
      { kind: "wait", ms: 500, lost: false },
    ]);
    expect([retries.connected(), retries.connected()]).toEqual([true, false]);
    expect(retries.after(BROKEN, true, 9_000)).toEqual({ kind: "wait", ms: 250, lost: true });
  });

  test("is gone after for so long and no longer, and then says so", () => {
    retries.after(BROKEN, true, 0);
    expect(retries.after(BROKEN, true, RECONNECT_FOR_MS - 3_000).kind).toBe("wait");
    expect(retries.after(BROKEN, true, RECONNECT_FOR_MS)).toMatchObject({
      kind: "over",
      why: { reason: "CONNECTION_LOST" },
    });
  });

  test("is over where the server has not told how to come back", () => {
    expect(retries.after(BROKEN, false, 0)).toEqual({ kind: "over", why: BROKEN });
  });

  test("is over for a reason that trying again cannot mend", () => {
    const gone = refusal(Code.InvalidArgument, "", "RESUME_HANDLE_INVALID");
    expect(retries.after(gone, true, 0)).toEqual({ kind: "over", why: gone });
  });
});

test("the sign-in is renewed once for each connection", () => {
  expect(retries.after(EXPIRED, false, 0)).toEqual({ kind: "renew" });
  expect(retries.after(EXPIRED, false, 0)).toEqual({ kind: "over", why: EXPIRED });
  retries.connected();
  expect(retries.after(EXPIRED, true, 0)).toEqual({ kind: "renew" });
});

test("one that another page began is gone after from the moment it is taken over", () => {
  retries.begunElsewhere(1_000);
  expect(retries.after(BROKEN, true, 1_000)).toEqual({ kind: "wait", ms: 250, lost: false });
  expect(retries.after(BROKEN, true, 1_000 + RECONNECT_FOR_MS).kind).toBe("over");
});
