import { expect, test } from "vitest";

import type { Position } from "@/audio/jitter-buffer";

import { HeardReports } from "./heard-reports";

function at(heardMs: number, more: Partial<Position> = {}): Position {
  return {
    generation: 1,
    heardMs,
    givenMs: heardMs,
    queuedMs: 100,
    sounded: true,
    settled: false,
    drained: false,
    underruns: 0,
    refused: 0,
    ...more,
  };
}

test("the first sound is told at once, then every 200 ms", () => {
  const reports = new HeardReports();
  const told = [0, 40, 160, 199, 200, 240, 399, 400].map(
    (ms) => reports.at(at(ms))?.audioMs ?? null,
  );
  expect(told).toEqual([0, null, null, null, 200, null, null, 400]);
});

test("where the sound settles is told, once", () => {
  const reports = new HeardReports();
  reports.at(at(0));
  expect(reports.at(at(130, { settled: true }))?.audioMs).toBe(130);
  expect(reports.at(at(130, { settled: true }))).toBeNull();
});

test("a reply that may be interrupted is told at once", () => {
  const reports = new HeardReports();
  reports.at(at(0));
  expect(reports.at(at(30), true)?.audioMs).toBe(30);
});

test("silence is no report: before the first sound, and before any reply", () => {
  const reports = new HeardReports();
  expect(reports.at(at(0, { generation: 0 }))).toBeNull();
  expect(reports.at(at(0, { sounded: false }))).toBeNull();
});

test("a new reply begins a new count", () => {
  const reports = new HeardReports();
  reports.at(at(5000));
  expect(reports.at(at(0, { generation: 2 }))).toEqual({ generation: 2, audioMs: 0 });
});
