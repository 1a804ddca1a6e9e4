import { render, screen } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { type LeftTalk, forgetLeft, leftTalk, parseLeft, rememberLeft } from "./left-talk";
import { LeftTalkCard } from "./LeftTalkCard";
import { talk } from "./talk";

const LEFT: LeftTalk = {
  conversationId: "c1",
  handle: "c1.secret",
  transport: "push",
  affinity: "a",
  seq: 7n,
  lastSeq: 31n,
  unheard: 2,
  typedOnly: false,
  began: 0,
  until: 0,
};

beforeEach(forgetLeft);
afterEach(forgetLeft);

test("a talk that waits is gone on with by one button", async () => {
  const goOn = vi.spyOn(talk, "goOn").mockResolvedValue();
  rememberLeft({ ...LEFT, until: Date.now() + 60_000 });
  render(<LeftTalkCard />);
  await userEvent.click(screen.getByRole("button", { name: "Go on" }));
  expect(goOn).toHaveBeenCalledOnce();
});

test("a talk that waits is ended by the other", async () => {
  const endLeft = vi.spyOn(talk, "endLeft").mockResolvedValue();
  rememberLeft({ ...LEFT, until: Date.now() + 60_000 });
  render(<LeftTalkCard />);
  await userEvent.click(screen.getByRole("button", { name: "End it" }));
  expect(endLeft).toHaveBeenCalledOnce();
  expect(screen.queryByText(/still open/)).not.toBeInTheDocument();
});

test("a talk that waited for too long is told once, with the way to it", async () => {
  rememberLeft({ ...LEFT, until: Date.now() - 1 });
  const { unmount } = render(<LeftTalkCard />);
  expect(screen.getByRole("link", { name: /listen again/ })).toHaveAttribute("href", "/history/c1");
  await userEvent.click(screen.getByRole("button", { name: "Dismiss" }));
  unmount();
  render(<LeftTalkCard />);
  expect(screen.queryByText(/talk ended/)).not.toBeInTheDocument();
});

test("what is kept of it comes back as it was, and what is not whole does not", () => {
  const left = { ...LEFT, until: Date.now() };
  rememberLeft(left);
  expect(leftTalk()).toEqual(left);
  expect(leftTalk(Date.now() + 2 * 3_600_000)).toBeNull();
  const { seq, ...numbered } = { ...left, lastSeq: "31" };
  const broken = [
    undefined,
    null,
    "c1",
    {},
    numbered,
    { ...numbered, seq },
    { ...numbered, seq: "x" },
  ];
  expect(broken.map(parseLeft)).toEqual(broken.map(() => null));
});
