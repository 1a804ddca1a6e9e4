import { render, screen } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { expect, test, vi } from "vitest";

import { Toasts } from "@/app/Toasts";

import { SafetySection } from "./SafetySection";

const signOut = vi.hoisted(() => vi.fn<() => Promise<void>>());
vi.mock("@/auth/session", () => ({ signOut, signOutEverywhere: vi.fn() }));
vi.mock("./SessionsPart", () => ({ SessionsPart: () => null }));
vi.mock("./PasswordPart", () => ({ PasswordPart: () => null }));

const UNTOLD = "You are signed out here; the server could not be told yet.";

test("a sign-out of which the server could not be told is not passed over in silence", async () => {
  render(
    <>
      <SafetySection />
      <Toasts />
    </>,
  );
  signOut.mockResolvedValueOnce();
  await userEvent.click(screen.getByRole("button", { name: "Sign out" }));
  expect(screen.queryByText(UNTOLD)).toBeNull();
  signOut.mockRejectedValueOnce(new TypeError("Failed to fetch"));
  await userEvent.click(screen.getByRole("button", { name: "Sign out" }));
  expect(await screen.findByText(UNTOLD)).toBeVisible();
});
