import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { type Kept, RESUME_WITHIN_MS, keepRunning, resumed } from "./keep-running";

class FakeContext extends EventTarget {
  state = "running";
  /** What `resume` does: starts it, or waits for a touch as iOS does. */
  allowed = true;
  resumes = 0;

  resume(): Promise<void> {
    this.resumes += 1;
    if (!this.allowed) return new Promise(() => undefined);
    this.become("running");
    return Promise.resolve();
  }

  become(state: string): void {
    this.state = state;
    this.dispatchEvent(new Event("statechange"));
  }
}

let context: FakeContext;
let told: boolean[];
let kept: Kept;

const asContext = () => context as unknown as AudioContext;

beforeEach(() => {
  vi.useFakeTimers();
  context = new FakeContext();
  told = [];
  kept = keepRunning(asContext(), (stopped) => told.push(stopped));
});

afterEach(() => {
  vi.useRealTimers();
});

test("a context that waits for a touch is not waited for", async () => {
  context.allowed = false;
  const answer = resumed(asContext());
  await vi.advanceTimersByTimeAsync(RESUME_WITHIN_MS);
  expect(await answer).toBe(false);
});

test("a sound that stops is started again", async () => {
  context.become("interrupted");
  await vi.advanceTimersByTimeAsync(0);
  expect([context.state, told.at(-1)]).toEqual(["running", false]);
});

test("a sound that stays stopped is told, and a touch starts it", async () => {
  context.allowed = false;
  context.become("interrupted");
  await vi.advanceTimersByTimeAsync(RESUME_WITHIN_MS);
  expect(told).toEqual([true]);
  context.allowed = true;
  await kept.wake();
  expect(told.at(-1)).toBe(false);
});

test("a page that comes back into sight tries again", async () => {
  context.allowed = false;
  context.become("suspended");
  await vi.advanceTimersByTimeAsync(RESUME_WITHIN_MS);
  context.allowed = true;
  document.dispatchEvent(new Event("visibilitychange"));
  await vi.advanceTimersByTimeAsync(0);
  expect([context.state, told.at(-1)]).toEqual(["running", false]);
});

test("after the talk nothing is started any more", async () => {
  kept.end();
  context.become("suspended");
  await vi.advanceTimersByTimeAsync(2 * RESUME_WITHIN_MS);
  expect([context.resumes, told]).toEqual([0, []]);
});
