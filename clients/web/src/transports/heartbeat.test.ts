import { beforeEach, expect, test } from "vitest";

import { Heartbeat } from "./heartbeat";

let now: number;
let due: (() => void) | null;
let pings: bigint[];
let lost: number;
let heartbeat: Heartbeat;

function pass(ms: number): void {
  now += ms;
  const run = due;
  due = null;
  run?.();
}

beforeEach(() => {
  now = 1_000;
  due = null;
  pings = [];
  lost = 0;
  const world = {
    now: () => now,
    after: (_ms: number, run: () => void) => {
      due = run;
      return () => (due = null);
    },
  };
  heartbeat = new Heartbeat(
    world,
    (nonce) => pings.push(nonce),
    () => lost++,
  );
  heartbeat.begin();
});

test("keeps the shortest of the round trips", () => {
  for (const took of [80, 30, 50]) {
    now += took;
    heartbeat.pong(pings.at(-1) ?? 0n);
    pass(5_000);
  }
  expect(heartbeat.roundTripMs).toBe(30);
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
