import { create } from "@bufbuild/protobuf";
import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import {
  ConversationSummarySchema,
  TurnMatchSchema,
} from "@parley/stubs/parley/history/v1/history_pb";
import { render, screen, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { beforeEach, expect, test, vi } from "vitest";

import HistoryPage from "./HistoryPage";

const histories = vi.hoisted(() => ({
  listConversations: vi.fn(),
  searchTurns: vi.fn(),
  deleteConversation: vi.fn(),
}));
vi.mock("@/rpc/clients", () => ({
  histories,
  CLIENT_HEADER: { name: "x-parley-client", value: "web" },
  access: { subscribe: () => () => undefined, state: "signed-in", token: () => "t" },
  users: {},
}));

const conversation = (id: string, title: string) =>
  create(ConversationSummarySchema, {
    conversationId: id,
    scenarioTitle: title,
    startedAt: timestampFromDate(new Date()),
    endedAt: timestampFromDate(new Date(Date.now() + 300_000)),
    turns: 4,
    corrections: 1,
    preview: "I would like…",
  });

beforeEach(() => {
  localStorage.clear();
  for (const each of Object.values(histories)) each.mockReset();
  histories.listConversations.mockResolvedValue({
    conversations: [conversation("one", "At the café"), conversation("two", "Free talk")],
    nextPageToken: "",
  });
});

test("before the first talk the page says what will be here and where to begin", async () => {
  histories.listConversations.mockResolvedValue({ conversations: [], nextPageToken: "" });
  render(<HistoryPage />);
  expect(await screen.findByText("Your first talk will be here.")).toBeVisible();
  expect(screen.getByRole("link", { name: "Start a talk" })).toHaveAttribute("href", "/");
});

test("conversations stand under their day and lead to their page", async () => {
  render(<HistoryPage />);
  const today = await screen.findByRole("region", { name: "Today" });
  const links = within(today).getAllByRole("link");
  expect(links[0]).toHaveAttribute("href", "/history/one");
  expect(links[0]).toHaveTextContent("At the café");
  expect(links[0]).toHaveTextContent("4 turns");
});

test("a deletion leaves its undo where the row was, with the keyboard on it", async () => {
  render(<HistoryPage />);
  const user = userEvent.setup();
  await user.click(await screen.findByRole("button", { name: /Delete “At the café”/ }));
  const undo = screen.getByRole("button", { name: "Undo" });
  expect(undo).toHaveFocus();
  expect(screen.queryByRole("link", { name: /At the café/ })).toBeNull();
  await user.click(undo);
  expect(screen.getByRole("link", { name: /At the café/ })).toBeVisible();
  expect(histories.deleteConversation).not.toHaveBeenCalled();
});

test("a list that cannot be read says why and is asked for again", async () => {
  histories.listConversations.mockRejectedValueOnce(new TypeError("failed to fetch"));
  render(<HistoryPage />);
  await userEvent.click(await screen.findByRole("button", { name: "Try again" }));
  expect(await screen.findByRole("link", { name: /Free talk/ })).toBeVisible();
});

test("a search marks the words and leads to the turn", async () => {
  histories.searchTurns.mockResolvedValue({
    matches: [
      create(TurnMatchSchema, {
        conversationId: "one",
        turnId: "t",
        number: 3,
        snippet: "by the window",
        spans: [{ start: 7, end: 13 }],
        tutor: true,
      }),
    ],
    nextPageToken: "",
  });
  render(<HistoryPage />);
  await userEvent.type(screen.getByLabelText("Search in what was said"), "window");
  const found = await screen.findByRole("link", { name: /by the window/ });
  expect(found).toHaveAttribute("href", "/history/one#turn-3");
  expect(within(found).getByText("window").tagName).toBe("MARK");
  await userEvent.keyboard("{Escape}");
  expect(await screen.findByRole("region", { name: "Conversations" })).toBeVisible();
});
