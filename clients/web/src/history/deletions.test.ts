import { beforeEach, expect, test, vi } from "vitest";

import { Deletions, UNDO_MS } from "./deletions";

let erased: string[];
let left: string[];
let kept: readonly string[];
let fail: boolean;

function deletions(): Deletions {
  return new Deletions({
    erase: (id) => {
      if (fail) return Promise.reject(new Error("away"));
      erased.push(id);
      return Promise.resolve();
    },
    eraseLeaving: (id) => left.push(id),
    after: (ms, run) => {
      const timer = setTimeout(run, ms);
      return () => clearTimeout(timer);
    },
    kept: {
      get: () => kept,
      set: (ids) => {
        kept = ids;
      },
    },
  });
}

beforeEach(() => {
  vi.useFakeTimers();
  [erased, left, kept, fail] = [[], [], [], false];
  return () => vi.useRealTimers();
});

test("nothing is deleted before the time to undo is over, and then it is", async () => {
  const all = deletions();
  all.delete("a");
  await vi.advanceTimersByTimeAsync(UNDO_MS - 1);
  expect(erased).toEqual([]);
  expect(all.states().get("a")).toBe("waiting");
  await vi.advanceTimersByTimeAsync(1);
  expect(erased).toEqual(["a"]);
  expect(all.states().get("a")).toBe("gone");
  expect(kept).toEqual([]);
});

test("what is undone is never deleted", async () => {
  const all = deletions();
  all.delete("a");
  expect(all.undo("a")).toBe(true);
  await vi.advanceTimersByTimeAsync(UNDO_MS * 2);
  expect(erased).toEqual([]);
  expect(kept).toEqual([]);
  expect(all.undo("a")).toBe(false);
});

test("whoever leaves the page has decided", () => {
  const all = deletions();
  all.delete("a");
  all.leave();
  expect(left).toEqual(["a"]);
  // Nobody heard whether it arrived.
  expect(kept).toEqual(["a"]);
});

test("what an earlier visit could not tell the server is carried out at the next", async () => {
  kept = ["a"];
  await deletions().resume();
  expect(erased).toEqual(["a"]);
  expect(kept).toEqual([]);
});

test("a failure is shown, keeps the decision and can be tried again", async () => {
  const all = deletions();
  fail = true;
  all.delete("a");
  await vi.advanceTimersByTimeAsync(UNDO_MS);
  expect(all.states().get("a")).toBe("failed");
  expect(kept).toEqual(["a"]);
  fail = false;
  all.again("a");
  await vi.advanceTimersByTimeAsync(0);
  expect(erased).toEqual(["a"]);
});

test("a sign-out does not lose what was decided: it is carried out while it still can be", async () => {
  const all = deletions();
  all.delete("a");
  all.delete("b");
  await all.settle();
  expect(erased.sort()).toEqual(["a", "b"]);
});

test("what fails after the sign-out is not put down to who signs in next", async () => {
  const all = deletions();
  all.delete("a");
  fail = true;
  const settled = all.settle();
  all.forget();
  kept = [];
  await settled;
  expect(kept).toEqual([]);
  expect(all.states().size).toBe(0);
});
