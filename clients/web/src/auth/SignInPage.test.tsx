import { Code } from "@connectrpc/connect";
import { render, screen, waitFor, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { beforeEach, expect, test, vi } from "vitest";

import { problemFromRefusal } from "@/rpc/problem";
import { RefusedError, refusal } from "@/rpc/refusal";

import SignInPage from "./SignInPage";
import SignUpPage from "./SignUpPage";

const session = vi.hoisted(() => ({ signIn: vi.fn(), signUp: vi.fn(), whySignedOut: vi.fn() }));
vi.mock("./session", () => session);

const refused = (code: Code, reason: string, retryAfterMs: number | null = null) =>
  new RefusedError({ ...refusal(code, "no", reason), retryAfterMs });

beforeEach(() => {
  session.signIn.mockReset().mockResolvedValue(undefined);
  session.signUp.mockReset().mockResolvedValue(undefined);
  session.whySignedOut.mockReset().mockReturnValue(null);
});

async function fill(name: string, password: string, action: string) {
  const user = userEvent.setup();
  if (name) await user.type(screen.getByLabelText("Name"), name);
  if (password) await user.type(screen.getByLabelText("Password"), password);
  await user.click(screen.getByRole("button", { name: action }));
  return user;
}

test("a password manager finds its way", () => {
  render(<SignInPage />);
  expect(screen.getByLabelText("Name")).toHaveAttribute("autocomplete", "username");
  expect(screen.getByLabelText("Password")).toHaveAttribute("autocomplete", "current-password");
});

test("whose sign-in has ended by itself is told so, and not asked to press anything else", () => {
  const ended = refusal(Code.Unauthenticated, "", "REFRESH_TOKEN_INVALID");
  session.whySignedOut.mockReturnValue(problemFromRefusal(ended));
  render(<SignInPage />);
  expect(screen.getByRole("alert")).toHaveTextContent("You have been signed out.");
  expect(within(screen.getByRole("alert")).queryByRole("button")).not.toBeInTheDocument();
});

test("an empty form asks for nothing of the server and says what is missing", async () => {
  render(<SignInPage />);
  await fill("", "", "Sign in");
  expect(session.signIn).not.toHaveBeenCalled();
  expect(screen.getByLabelText("Name")).toHaveFocus();
  expect(screen.getByLabelText("Name")).toHaveAccessibleDescription(/Type the name/);
});

test("after a wrong password the cursor stands in it, ready for another", async () => {
  session.signIn.mockRejectedValue(refused(Code.Unauthenticated, "BAD_CREDENTIALS"));
  render(<SignInPage />);
  await fill("ana", "wrong", "Sign in");
  expect(await screen.findByRole("alert")).toHaveTextContent("do not go together");
  expect(screen.getByLabelText("Password")).toHaveFocus();
});

test("tried too often, the button says how long to wait", async () => {
  session.signIn.mockRejectedValue(refused(Code.ResourceExhausted, "TOO_MANY_ATTEMPTS", 90_000));
  render(<SignInPage />);
  await fill("ana", "wrong", "Sign in");
  const button = await screen.findByRole("button", { name: /try again in 1 min 30 s/ });
  expect(button).toBeDisabled();
});

test("a password can be looked at", async () => {
  render(<SignInPage />);
  const field = screen.getByLabelText("Password");
  await userEvent.click(screen.getByRole("button", { name: /Show/ }));
  expect(field).toHaveAttribute("type", "text");
});

test("a name that is taken leads to signing in with it", async () => {
  session.signUp.mockRejectedValue(refused(Code.AlreadyExists, "USERNAME_TAKEN"));
  render(<SignUpPage />);
  await fill("ana", "long enough", "Make an account");
  expect(await screen.findByRole("link", { name: "Sign in as ana" })).toBeVisible();
  expect(screen.getByLabelText("Name")).toHaveFocus();
});

test("a password that guessers try first is told at its field, with the cursor in it", async () => {
  session.signUp.mockRejectedValue(
    new RefusedError({
      ...refusal(Code.InvalidArgument, "no", "PASSWORD_TOO_COMMON"),
      violations: [{ field: "password", description: "is one of the most common" }],
    }),
  );
  render(<SignUpPage />);
  await fill("ana", "password1", "Make an account");
  const field = screen.getByLabelText("Password");
  await waitFor(() => expect(field).toHaveAccessibleDescription(/one of the most common/));
  expect(field).toHaveFocus();
  expect(screen.queryByRole("alert")).toBeNull();
});

test("a sign-up whose answer was lost is sent again under the same id", async () => {
  session.signUp.mockRejectedValueOnce(new TypeError("failed to fetch"));
  render(<SignUpPage />);
  const user = await fill("ana", "long enough", "Make an account");
  await screen.findByRole("alert");
  await user.click(screen.getByRole("button", { name: "Make an account" }));
  await waitFor(() => expect(session.signUp).toHaveBeenCalledTimes(2));
  const [first, second] = session.signUp.mock.calls as unknown[][];
  expect(second?.[3]).toBe(first?.[3]);
});
