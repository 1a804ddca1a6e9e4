import { beforeEach, expect, test } from "vitest";

import { Heartbeat } from "./heartbeat";

let now: number;
let timers: { readonly at: number; readonly run: () => void }[];
let pings: bigint[];
let lost: number;
let unproved: number;
let heartbeat: Heartbeat;

/** Lets time pass; what fell due meanwhile runs, all of it late. */
function pass(ms: number): void {
  now += ms;
  const due = timers.filter(({ at }) => at <= now);
  timers = timers.filter(({ at }) => at > now);
  for (const { run } of due) run();
}

beforeEach(() => {
  now = 1_000;
  timers = [];
  pings = [];
  lost = 0;
  unproved = 0;
  const world = {
    now: () => now,
    after: (ms: number, run: () => void) => {
      const timer = { at: now + ms, run };
      timers.push(timer);
      return () => (timers = timers.filter((each) => each !== timer));
    },
  };
  heartbeat = new Heartbeat(world, {
    ping: (nonce) => pings.push(nonce),
    lost: () => lost++,
    unproved: () => unproved++,
  });
  heartbeat.begin();
});

/** Answers the newest ping after `tookMs`, and waits for the next. */
function answer(tookMs: number): void {
  now += tookMs;
  heartbeat.heard();
  heartbeat.pong(pings.at(-1) ?? 0n);
  pass(5_000);
}

test("tells the shortest of the last round trips: one of another network is forgotten", () => {
  for (const tookMs of [80, 30, 50]) answer(tookMs);
  expect(heartbeat.roundTripMs).toBe(30);
  for (let i = 0; i < 6; i++) answer(90 + i);
  expect(heartbeat.roundTripMs).toBe(90);
});

test("counts no answer twice, and none to an older ping", () => {
  now += 40;
  heartbeat.pong(1n);
  now += 5;
  heartbeat.pong(1n);
  pass(5_000);
  now += 10;
  heartbeat.pong(1n);
  expect(heartbeat.roundTripMs).toBe(40);
});

test("says once that nothing has come for three pings, and is still then", () => {
  for (let i = 0; i < 10; i++) pass(5_000);
  expect([lost, pings]).toEqual([1, [1n, 2n, 3n, 4n]]);
});

test("is content with anything that comes, and with silence once it was stopped", () => {
  for (let i = 0; i < 10; i++) {
    heartbeat.heard();
    pass(5_000);
  }
  heartbeat.stop();
  pass(60_000);
  expect(lost).toBe(0);
});

test("says that nothing seems to arrive, until a ping was answered once", () => {
  pass(7_999);
  expect([unproved, heartbeat.proved]).toEqual([0, false]);
  // What the server says unasked proves nothing.
  heartbeat.pong(0n);
  pass(1);
  expect(unproved).toBe(1);
  heartbeat.begin();
  heartbeat.pong(1n);
  heartbeat.begin();
  pass(8_000);
  expect([unproved, heartbeat.proved]).toEqual([1, true]);
});
