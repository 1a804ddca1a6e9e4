import { create } from "@bufbuild/protobuf";
import { EngineInfoSchema } from "@parley/stubs/parley/ai/v1/ai_pb";
import { type Scenario, ScenarioSchema } from "@parley/stubs/parley/types/v1/scenario_pb";
import { render, screen } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { afterEach, beforeEach, expect, test, vi, type MockInstance } from "vitest";

import { DEFAULT_PREFERENCES, prefer } from "@/wishes/talk-preferences";

import { AnotherTalk } from "./AnotherTalk";
import { NEW_SESSION } from "./session-view";
import { talk } from "./talk";
import { IDLE, type Phase } from "./talk-state";

const TRAVEL = create(ScenarioSchema, { scenarioId: "travel", title: "At the airport" });
const CATALOG = {
  scenarios: [create(ScenarioSchema, { scenarioId: "free-talk", title: "Free talk" }), TRAVEL],
  engines: [
    create(EngineInfoSchema, { name: "local", available: true, default: true }),
    create(EngineInfoSchema, { name: "claude", available: true, description: "Knows a lot." }),
    create(EngineInfoSchema, { name: "cloud", unavailableReason: "It needs a key." }),
  ],
  voices: [],
};

const onBegin = vi.fn();
let startAnother: MockInstance<typeof talk.startAnother>;

function show(phase: Phase, scenario: Scenario | null = TRAVEL): void {
  const view = { ...NEW_SESSION, scenario };
  vi.spyOn(talk, "state", "get").mockReturnValue({ ...IDLE, phase, view });
  render(<AnotherTalk catalog={CATALOG} onBegin={onBegin} />);
}

beforeEach(() => {
  prefer({ ...DEFAULT_PREFERENCES, scenarioId: "travel", voice: "amy" });
  startAnother = vi.spyOn(talk, "startAnother").mockReturnValue();
  onBegin.mockReset();
});

afterEach(() => {
  vi.restoreAllMocks();
});

test("what the talk has is shown; another tutor and situation begin another talk", async () => {
  show("live");
  expect(screen.getByLabelText("Situation")).toHaveDisplayValue("At the airport");
  await userEvent.selectOptions(screen.getByLabelText("Situation"), "Free talk");
  await userEvent.selectOptions(screen.getByLabelText("Tutor"), "claude");
  expect(screen.getByText("Knows a lot.")).toBeInTheDocument();
  expect(startAnother).not.toHaveBeenCalled();
  await userEvent.click(screen.getByRole("button", { name: "Begin a new talk" }));
  expect(startAnother.mock.calls).toEqual([
    [{ engine: "claude", scenarioId: "free-talk", voice: "" }],
  ]);
  expect(onBegin).toHaveBeenCalledOnce();
});

test("the same tutor keeps the voice that was chosen", async () => {
  show("live");
  await userEvent.click(screen.getByRole("button", { name: "Begin a new talk" }));
  expect(startAnother.mock.calls).toEqual([[{ engine: "", scenarioId: "travel" }]]);
});

test("a tutor who is away cannot be chosen", () => {
  show("live");
  expect(screen.getByRole("option", { name: "cloud (not available)" })).toBeDisabled();
});

test("a talk that is only beginning or ending cannot be changed for another", () => {
  show("starting", null);
  expect(screen.getByRole("button", { name: "Begin a new talk" })).toBeDisabled();
});
