import { create } from "@bufbuild/protobuf";
import {
  DailyProgressSchema,
  GetProgressResponseSchema,
} from "@parley/stubs/parley/history/v1/history_pb";
import { CorrectionKind } from "@parley/stubs/parley/types/v1/feedback_pb";
import { fireEvent, render, screen, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { beforeEach, expect, test, vi } from "vitest";

import ProgressPage from "./ProgressPage";

const histories = vi.hoisted(() => ({ getProgress: vi.fn() }));
vi.mock("@/rpc/clients", () => ({
  histories,
  CLIENT_HEADER: { name: "x-parley-client", value: "web" },
  access: { subscribe: () => () => undefined, state: "signed-in", token: () => "t" },
}));

const day = (date: string, minutes: number) =>
  create(DailyProgressSchema, {
    date,
    speechMs: BigInt(minutes * 60_000),
    words: 100 * minutes,
    turns: 8,
    rateWpm: 100,
    medianSilenceMs: 640,
    corrections: [
      { kind: CorrectionKind.GRAMMAR, count: 3 },
      { kind: CorrectionKind.STYLE, count: 1 },
    ],
  });

const told = (more: object = {}) =>
  create(GetProgressResponseSchema, {
    days: [day("2026-11-21", 4), day("2026-11-23", 6)],
    currentStreakDays: 1,
    longestStreakDays: 12,
    totalSpeechMs: 7_200_000n,
    totalConversations: 40,
    timeZone: "Europe/Madrid",
    fromDate: "2026-10-24",
    toDate: "2026-11-23",
    ...more,
  });

beforeEach(() => {
  histories.getProgress.mockReset();
  histories.getProgress.mockResolvedValue(told());
});

test("it says what the practice came to", async () => {
  render(<ProgressPage />);
  expect(await screen.findByText("1 day")).toBeVisible();
  expect(screen.getByText("longest 12 days")).toBeVisible();
  expect(screen.getByText("10 min")).toBeVisible();
  expect(screen.getByText("2 h ever")).toBeVisible();
  const notes = screen.getByRole("region", { name: "What the notes were about" });
  expect(
    within(notes)
      .getAllByRole("listitem")
      .map((each) => each.textContent),
  ).toEqual(["Grammar6", "Style2"]);
});

test("each measure has its chart, and its numbers stand in a table", async () => {
  render(<ProgressPage />);
  const charts = await screen.findAllByRole("img");
  expect(charts.map((each) => each.getAttribute("aria-label"))).toEqual([
    "Speaking time: 10 min on 2 days",
    "Words: 1,000 on 2 days",
    "Pace: 100 a min on average",
    "Notes per 100 words: 0.8 on average",
    "Wait for an answer: usually 640 ms",
  ]);
  const rows = screen.getAllByRole("row", { hidden: true });
  expect(rows.map((row) => row.textContent)).toEqual([
    "DaySpokenWordsTurnsA minuteNotesWait",
    "Mon 23 Nov6 min60081004640 ms",
    "Sat 21 Nov4 min40081004640 ms",
  ]);
});

test("pointing at a day reads it in every chart", async () => {
  render(<ProgressPage />);
  const chart = await screen.findByRole("img", { name: /^Speaking time/ });
  vi.spyOn(chart, "getBoundingClientRect").mockReturnValue(new DOMRect(0, 0, 310, 100));
  // jsdom knows no pointers: theirs are a mouse's events by another name.
  fireEvent(chart, new MouseEvent("pointermove", { bubbles: true, clientX: 309 }));
  expect(screen.getAllByText(/Mon 23 Nov/, { selector: "figcaption p" })).toHaveLength(5);
  expect(screen.getByText("6 min", { selector: "strong" })).toBeVisible();
  fireEvent.pointerLeave(chart);
  expect(screen.queryByText(/Mon 23 Nov/, { selector: "figcaption p" })).toBeNull();
});

test("a longer time is asked for by the server's own today, and drawn by the week", async () => {
  render(<ProgressPage />);
  await screen.findAllByRole("img");
  histories.getProgress.mockResolvedValue(told({ fromDate: "2026-08-25" }));
  await userEvent.click(screen.getByRole("radio", { name: "3 months" }));
  expect(
    await screen.findByRole("img", { name: "Speaking time: 10 min on 2 days, by the week" }),
  ).toBeVisible();
  expect(histories.getProgress).toHaveBeenLastCalledWith(
    { fromDate: "2026-08-25", toDate: "2026-11-23" },
    expect.anything(),
  );
});

test("before the first talk it says where to begin, and in a quiet time that one may go on", async () => {
  const nothing = told({ days: [], totalConversations: 0, totalSpeechMs: 0n });
  histories.getProgress.mockResolvedValue(nothing);
  const { unmount } = render(<ProgressPage />);
  expect(await screen.findByRole("link", { name: "Start a talk" })).toHaveAttribute("href", "/");
  unmount();
  histories.getProgress.mockResolvedValue(told({ days: [] }));
  render(<ProgressPage />);
  expect(await screen.findByText(/No practice in this time/)).toBeVisible();
  expect(screen.queryByRole("img")).toBeNull();
});

test("what cannot be read says why and is asked for again", async () => {
  histories.getProgress.mockRejectedValueOnce(new TypeError("failed to fetch"));
  render(<ProgressPage />);
  await userEvent.click(await screen.findByRole("button", { name: "Try again" }));
  expect(await screen.findAllByRole("img")).toHaveLength(5);
});
