import { create } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import { LoginResponseSchema, TokenPairSchema } from "@parley/stubs/parley/user/v1/user_pb";
import { beforeEach, expect, test, vi } from "vitest";

import { access, users } from "@/rpc/clients";

import { restoreSignIn, signIn, signOut } from "./session";

const calls = vi.hoisted(() => ({
  logout: vi.fn<() => Promise<unknown>>(),
  order: [] as string[],
}));
vi.mock("@/rpc/clients", async (original) => ({
  ...(await original<object>()),
  leaving: { users: { logout: calls.logout } },
}));

const AWAY = new ConnectError("Failed to fetch", Code.Unavailable);

beforeEach(() => {
  localStorage.clear();
  calls.order.length = 0;
  calls.logout.mockReset().mockImplementation(() => {
    calls.order.push("logout");
    return Promise.resolve({});
  });
  vi.spyOn(users, "login").mockImplementation(() => {
    calls.order.push("login");
    const tokens = create(TokenPairSchema, { accessToken: "a" });
    return Promise.resolve(create(LoginResponseSchema, { tokens }));
  });
});

test("a sign-out that the server heard of is told once", async () => {
  await signIn("ada", "secret");
  await signOut();
  await restoreSignIn();
  expect([access.state, calls.order]).toEqual(["signed-out", ["login", "logout"]]);
});

test("one that it did not hear of says so, and is told when the page opens again", async () => {
  // The cookie stayed alive for whoever came next.
  await signIn("ada", "secret");
  calls.logout.mockRejectedValueOnce(AWAY);
  await expect(signOut()).rejects.toThrow(AWAY);
  expect(access.state).toBe("signed-out");
  calls.logout.mockRejectedValueOnce(AWAY);
  await restoreSignIn();
  await restoreSignIn();
  await restoreSignIn();
  expect(calls.logout).toHaveBeenCalledTimes(3);
});

test("it is told before the next sign-in, and never ends that one", async () => {
  await signIn("ada", "secret");
  calls.logout.mockRejectedValueOnce(AWAY);
  await expect(signOut()).rejects.toThrow(AWAY);
  await signIn("bea", "secret");
  expect(calls.order).toEqual(["login", "logout", "login"]);
  calls.logout.mockRejectedValueOnce(AWAY);
  await expect(signOut()).rejects.toThrow(AWAY);
  calls.logout.mockRejectedValueOnce(AWAY);
  await signIn("cleo", "secret");
  const before = calls.logout.mock.calls.length;
  access.forget();
  await restoreSignIn();
  expect(calls.logout).toHaveBeenCalledTimes(before);
});

test("a sign-in waits for a sign-out that is being told: the cookie would go with the old one", async () => {
  await signIn("ada", "secret");
  let answer: (value: unknown) => void = () => undefined;
  calls.logout.mockReturnValueOnce(new Promise((resolve) => (answer = resolve)));
  const out = signOut();
  await vi.waitFor(() => expect(calls.logout).toHaveBeenCalled());
  const next = signIn("bea", "secret");
  await new Promise((resolve) => setTimeout(resolve));
  expect(calls.order).toEqual(["login"]);
  answer({});
  await Promise.all([out, next]);
  expect(calls.order).toEqual(["login", "login"]);
});
