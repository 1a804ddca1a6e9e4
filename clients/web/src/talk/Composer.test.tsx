import { fireEvent, render, screen } from "@testing-library/react";
import { beforeEach, expect, test, vi } from "vitest";

import { Composer } from "./Composer";
import { talk } from "./talk";
import { IDLE, type Phase, type TalkState } from "./talk-state";

let state: TalkState;
let drawn: ReturnType<typeof render>;
let said: string[];

beforeEach(() => {
  state = { ...IDLE, phase: "live" };
  said = [];
  vi.spyOn(talk, "state", "get").mockImplementation(() => state);
  vi.spyOn(talk, "say").mockImplementation((text) => {
    if (state.phase !== "live") return false;
    said.push(text);
    return true;
  });
});

function enter(phase: Phase): void {
  state = { ...state, phase };
  drawn.rerender(<Composer focus={false} />);
}

function line(): HTMLElement {
  return screen.getByLabelText("Write instead of speaking");
}

function write(text: string): void {
  fireEvent.change(line(), { target: { value: text } });
  fireEvent.click(screen.getByRole("button", { name: "Send" }));
}

test("what is written is sent, and the line is empty for the next", () => {
  drawn = render(<Composer focus={false} />);
  write("Hello.");
  expect(said).toEqual(["Hello."]);
  expect(line()).toHaveValue("");
  expect(screen.getByRole("status")).toBeEmptyDOMElement();
});

test("what is written while the talk begins stays, says that it waits, and is sent then, once", () => {
  state = { ...state, phase: "starting" };
  drawn = render(<Composer focus={false} />);
  write("I was early.");
  expect(said).toEqual([]);
  expect(line()).toHaveValue("I was early.");
  expect(screen.getByRole("status")).toHaveTextContent("as soon as the talk begins");
  enter("live");
  expect(said).toEqual(["I was early."]);
  expect(line()).toHaveValue("");
  expect(screen.getByRole("status")).toBeEmptyDOMElement();
});

test("what is being changed meanwhile is not sent half-way", () => {
  state = { ...state, phase: "starting" };
  drawn = render(<Composer focus={false} />);
  write("I was");
  fireEvent.change(line(), { target: { value: "I was ear" } });
  enter("live");
  expect(said).toEqual([]);
  expect(line()).toHaveValue("I was ear");
});

test("nothing can be written into a talk that is being ended", () => {
  drawn = render(<Composer focus={false} />);
  enter("finishing");
  expect(line()).toBeDisabled();
  expect(screen.getByRole("button", { name: "Send" })).toBeDisabled();
});
