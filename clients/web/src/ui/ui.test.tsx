import { Code } from "@connectrpc/connect";
import { act, render, screen } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { useState } from "react";
import { expect, test, vi } from "vitest";

import { problemFromRefusal } from "@/rpc/problem";
import { refusal } from "@/rpc/refusal";

import { Button, IconButton } from "./Button";
import { Dialog } from "./Dialog";
import { Switch, TextField } from "./Field";
import { ProblemCard } from "./ProblemCard";

test("a button that is busy says so and cannot be pressed again", async () => {
  const pressed = vi.fn();
  render(
    <Button busy onClick={pressed}>
      Save
    </Button>,
  );
  const button = screen.getByRole("button", { name: "Save" });
  await userEvent.click(button);
  expect(pressed).not.toHaveBeenCalled();
  expect(button).toHaveAttribute("aria-busy", "true");
});

test("an icon button has words for those who cannot see it", () => {
  render(<IconButton icon="mic" label="Mute" pressed />);
  expect(screen.getByRole("button", { name: "Mute", pressed: true })).toBeInTheDocument();
});

test("a field's error is read with the field", () => {
  render(<TextField label="Password" error="Too short." hint="At least 8." />);
  const input = screen.getByLabelText("Password");
  expect(input).toBeInvalid();
  expect(input).toHaveAccessibleDescription("Too short.");
});

test("a switch can be turned by its label and by the keyboard", async () => {
  const turned = vi.fn();
  function Page() {
    const [on, setOn] = useState(false);
    return (
      <Switch
        label="Captions"
        checked={on}
        onChange={(next) => {
          turned(next);
          setOn(next);
        }}
      />
    );
  }
  render(<Page />);
  await userEvent.click(screen.getByText("Captions"));
  await userEvent.keyboard(" ");
  screen.getByRole("switch", { name: "Captions" }).focus();
  await userEvent.keyboard("{Enter}");
  expect(turned.mock.calls.flat().slice(0, 2)).toEqual([true, false]);
});

test("a dialog opens, has a name, and is closed by its button", async () => {
  const closed = vi.fn();
  render(
    <Dialog open onClose={closed} title="Voices">
      Words
    </Dialog>,
  );
  expect(screen.getByRole("dialog", { name: "Voices" })).toHaveTextContent("Words");
  await userEvent.click(screen.getByRole("button", { name: "Close" }));
  expect(closed).toHaveBeenCalled();
});

test("a problem is announced, with its way on and its details", async () => {
  const onWayOn = vi.fn();
  render(
    <ProblemCard
      problem={{
        title: "Away.",
        advice: "Wait.",
        wayOn: "retry",
        retryAfterMs: 0,
        fields: {},
        detail: "Unavailable",
      }}
      onWayOn={onWayOn}
    />,
  );
  expect(screen.getByRole("alert")).toHaveTextContent("Away.Wait.");
  await userEvent.click(screen.getByRole("button", { name: "Try again" }));
  expect(onWayOn).toHaveBeenCalledWith("retry");
});

test("a page that is older than the server is reloaded by the card itself", async () => {
  const [onWayOn, reload] = [vi.fn(), vi.fn()];
  vi.stubGlobal("location", { reload });
  const problem = problemFromRefusal(refusal(Code.NotFound, "", "PAGE_OUTDATED"));
  render(<ProblemCard problem={problem} onWayOn={onWayOn} />);
  await userEvent.click(screen.getByRole("button", { name: "Reload the page" }));
  vi.unstubAllGlobals();
  expect([reload.mock.calls.length, onWayOn.mock.calls.length]).toEqual([1, 0]);
});

test("where trying again cannot help yet the button says for how long, and then is ready", () => {
  vi.useFakeTimers();
  const full = refusal(Code.ResourceExhausted, "", "AT_CAPACITY");
  render(
    <ProblemCard
      problem={problemFromRefusal({ ...full, retryAfterMs: 3_000 })}
      onWayOn={() => undefined}
    />,
  );
  const button = screen.getByRole("button", { name: "Try again" });
  expect(button).toHaveTextContent("Try again in 3 s");
  expect(button).toBeDisabled();
  act(() => {
    vi.advanceTimersByTime(3_000);
  });
  expect(button).toHaveTextContent(/^Try again$/);
  expect(button).toBeEnabled();
  vi.useRealTimers();
});
