import { act, fireEvent, render, screen } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { Transcript } from "./Transcript";

const HEIGHT = 900;
let resized: Set<() => void>;

/** The window changes its height: a keyboard comes up, a banner appears. */
function resize(): void {
  act(() => {
    for (const tell of resized) tell();
  });
}

beforeEach(() => {
  resized = new Set();
  vi.stubGlobal(
    "ResizeObserver",
    class {
      constructor(private readonly tell: () => void) {}
      observe = () => resized.add(this.tell);
      disconnect = () => resized.delete(this.tell);
    },
  );
});

afterEach(() => {
  vi.unstubAllGlobals();
});

test("what was said last stays in sight when room is taken away, unless one reads further up", async () => {
  render(<Transcript />);
  const box = screen.getByRole("log", { name: "What was said" });
  Object.defineProperty(box, "scrollHeight", { value: HEIGHT });
  Object.defineProperty(box, "clientHeight", { value: 300 });
  resize();
  expect(box.scrollTop).toBe(HEIGHT);
  fireEvent.scroll(box, { target: { scrollTop: 10 } });
  resize();
  expect(box.scrollTop).toBe(10);
  await userEvent.click(screen.getByRole("button", { name: "Latest" }));
  expect(box.scrollTop).toBe(HEIGHT);
  expect(screen.queryByRole("button", { name: "Latest" })).not.toBeInTheDocument();
});
