import { afterEach, expect, test, vi } from "vitest";

import { keep, kept, keptJson } from "./kept";

afterEach(() => {
  vi.unstubAllGlobals();
  localStorage.clear();
});

test("what is kept is found again until nothing is to be kept", () => {
  keep("parley.test", "[1]");
  expect([kept("parley.test"), keptJson("parley.test")]).toEqual(["[1]", [1]]);
  keep("parley.test", null);
  expect([kept("parley.test"), keptJson("parley.test")]).toEqual([null, undefined]);
});

test("what somebody else has spoilt is no JSON, and no error", () => {
  keep("parley.test", "{");
  expect(keptJson("parley.test")).toBeUndefined();
});

test("a browser that forbids storage keeps nothing, and breaks nothing", () => {
  vi.stubGlobal("localStorage", {
    getItem: () => {
      throw new DOMException("", "SecurityError");
    },
    setItem: () => {
      throw new DOMException("", "QuotaExceededError");
    },
  });
  keep("parley.test", "1");
  expect([kept("parley.test"), keptJson("parley.test")]).toEqual([null, undefined]);
});
