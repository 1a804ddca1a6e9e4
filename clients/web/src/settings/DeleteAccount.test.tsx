import { Code } from "@connectrpc/connect";
import { render, screen, waitFor } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { beforeEach, expect, test, vi } from "vitest";

import { RefusedError, refusal } from "@/rpc/refusal";

import { DeleteAccount } from "./DeleteAccount";

const users = vi.hoisted(() => ({ deleteAccount: vi.fn() }));
const session = vi.hoisted(() => ({ forgetSignIn: vi.fn(), useAccount: () => undefined }));
vi.mock("@/rpc/clients", () => ({ users }));
vi.mock("@/auth/session", () => session);

beforeEach(() => {
  users.deleteAccount.mockReset().mockResolvedValue({});
  session.forgetSignIn.mockReset();
});

async function openAndFill(word: string, password: string) {
  render(<DeleteAccount />);
  const user = userEvent.setup();
  await user.click(screen.getByRole("button", { name: /Delete the account/ }));
  await user.type(screen.getByLabelText(/Type “delete”/), word);
  await user.type(screen.getByLabelText("Your password"), password);
  return user;
}

test("without the word nothing can be deleted", async () => {
  await openAndFill("delet", "secret");
  expect(screen.getByRole("button", { name: "Delete for good" })).toBeDisabled();
});

test("with the word and the password the account goes, and so does the sign-in here", async () => {
  const user = await openAndFill("Delete", "secret");
  await user.click(screen.getByRole("button", { name: "Delete for good" }));
  await waitFor(() => expect(session.forgetSignIn).toHaveBeenCalled());
  expect(users.deleteAccount).toHaveBeenCalledWith({ password: "secret" });
});

test("a wrong password is told at its field and deletes nothing", async () => {
  users.deleteAccount.mockRejectedValue(
    new RefusedError(refusal(Code.Unauthenticated, "no", "BAD_CREDENTIALS")),
  );
  const user = await openAndFill("delete", "wrong");
  await user.click(screen.getByRole("button", { name: "Delete for good" }));
  await waitFor(() =>
    expect(screen.getByLabelText("Your password")).toHaveAccessibleDescription(/not your password/),
  );
  expect(session.forgetSignIn).not.toHaveBeenCalled();
});
