import { create } from "@bufbuild/protobuf";
import {
  ListEnginesResponseSchema,
  ListVoicesResponseSchema,
} from "@parley/stubs/parley/ai/v1/ai_pb";
import { ListScenariosResponseSchema } from "@parley/stubs/parley/conversation/v1/conversation_pb";
import { CefrLevel } from "@parley/stubs/parley/types/v1/learner_pb";
import { act, render, screen } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import axe from "axe-core";
import { beforeEach, expect, test, vi } from "vitest";

import { ai, conversations } from "@/rpc/clients";
import { DEFAULT_PREFERENCES, prefer, preferences } from "@/wishes/talk-preferences";

import { forgetCatalog } from "./catalog";
import { Lobby, greeting } from "./Lobby";
import { talk } from "./talk";

const SCENARIOS = create(ListScenariosResponseSchema, {
  scenarios: [
    { scenarioId: "free-talk", title: "Free talk", description: "Anything." },
    {
      scenarioId: "travel",
      title: "At the airport",
      description: "Check in.",
      level: CefrLevel.B1,
    },
  ],
});
const ENGINES = create(ListEnginesResponseSchema, {
  engines: [
    { name: "local", available: true, default: true },
    { name: "cloud", available: false },
  ],
});
const VOICES = create(ListVoicesResponseSchema, {
  voices: [
    { name: "amy", displayName: "Amy", language: "en-US", engines: ["local"] },
    { name: "other", displayName: "Other", language: "en-GB", engines: ["cloud"] },
  ],
});

beforeEach(() => {
  prefer(DEFAULT_PREFERENCES);
  forgetCatalog();
  vi.spyOn(conversations, "listScenarios").mockResolvedValue(SCENARIOS);
  vi.spyOn(ai, "listEngines").mockResolvedValue(ENGINES);
  vi.spyOn(ai, "listVoices").mockResolvedValue(VOICES);
});

test("a situation is chosen like any radio button, and kept", async () => {
  render(<Lobby />);
  await userEvent.click(await screen.findByRole("radio", { name: /At the airport/ }));
  expect(preferences().scenarioId).toBe("travel");
  await userEvent.keyboard("{ArrowUp}");
  expect(preferences().scenarioId).toBe("free-talk");
});

test("only voices that the tutor has are on offer, and a tutor who is away cannot be chosen", async () => {
  render(<Lobby />);
  const voices = await screen.findByLabelText("Voice");
  expect(voices).toHaveTextContent("Amy");
  expect(voices).not.toHaveTextContent("Other");
  expect(screen.getByRole("option", { name: /cloud/ })).toBeDisabled();
});

test("the big button begins; who cannot speak types", async () => {
  const start = vi.spyOn(talk, "start").mockResolvedValue();
  render(<Lobby />);
  await userEvent.click(screen.getByRole("button", { name: /Start talking/ }));
  await userEvent.click(screen.getByRole("button", { name: "Type instead" }));
  expect(start.mock.calls).toEqual([[{ typedOnly: false }], [{ typedOnly: true }]]);
});

test("a server that is away is told, with a way to try again", async () => {
  const asked = vi.spyOn(conversations, "listScenarios").mockRejectedValue(new TypeError("Failed"));
  render(<Lobby />);
  expect(await screen.findByRole("alert")).toHaveTextContent("Parley does not answer.");
  asked.mockResolvedValue(SCENARIOS);
  await userEvent.click(screen.getByRole("button", { name: "Try again" }));
  expect(await screen.findByRole("radio", { name: /Free talk/ })).toBeChecked();
  expect(screen.queryByRole("alert")).not.toBeInTheDocument();
});

test("what was there to choose from is there at once the next time, also without a server", async () => {
  const { unmount } = render(<Lobby />);
  await screen.findByRole("radio", { name: /Free talk/ });
  unmount();
  vi.spyOn(conversations, "listScenarios").mockRejectedValue(new TypeError("Failed"));
  render(<Lobby />);
  expect(screen.getByRole("radio", { name: /Free talk/ })).toBeChecked();
  await act(() => Promise.resolve());
  // It is told where it matters: when a talk is begun.
  expect(screen.queryByRole("alert")).not.toBeInTheDocument();
});

test("nothing keeps anybody out of it", async () => {
  const { container } = render(
    <main>
      <Lobby />
    </main>,
  );
  await screen.findByRole("radio", { name: /Free talk/ });
  // Colours are checked elsewhere: jsdom does not draw.
  const { violations } = await axe.run(container, {
    rules: { "color-contrast": { enabled: false } },
  });
  expect(violations.map((each) => [each.id, each.nodes.map((node) => node.html)])).toEqual([]);
});

test.each([
  [3, "Hello"],
  [9, "Good morning"],
  [14, "Good afternoon"],
  [21, "Good evening"],
])("at %i o'clock one says %s", (hour, words) => {
  expect(greeting(hour, "Ana")).toBe(`${words}, Ana.`);
  expect(greeting(hour, undefined)).toBe(`${words}.`);
});
