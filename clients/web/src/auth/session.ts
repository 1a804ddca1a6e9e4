/** Signing in and out, and who is signed in, for the pages. */

import type { Account } from "@parley/stubs/parley/user/v1/user_pb";
import { useSyncExternalStore } from "react";

import { type AccessState } from "@/rpc/access";
import { access, users } from "@/rpc/clients";
import { type Problem, problemFromRefusal } from "@/rpc/problem";

import { forgiveSignOut, tellOwedSignOut, tellSignOut } from "./owed-sign-out";

let account: Account | undefined;
const listeners = new Set<() => void>();

function setAccount(next: Account | undefined): void {
  account = next;
  for (const listener of [...listeners]) listener();
}

// Other tabs hear of a sign-out at once; they would find out at their next call anyway.
const channel = "BroadcastChannel" in globalThis ? new BroadcastChannel("parley.access") : null;
channel?.addEventListener("message", () => {
  setAccount(undefined);
  access.forget();
});

/** Finds out, once as the page opens, whether somebody is signed in; never throws. */
export async function restoreSignIn(): Promise<void> {
  if (access.state === "signed-out") await tellOwedSignOut();
  else await access.restore();
}

/** Signs in. Throws what the call throws. */
export async function signIn(username: string, password: string): Promise<void> {
  await tellOwedSignOut();
  const response = await users.login({ username, password, deviceName: deviceName() });
  access.accept(response.tokens);
  forgiveSignOut();
  setAccount(response.account);
}

/** Makes an account and signs in with it. The same `requestId` makes a repetition harmless. */
export async function signUp(
  username: string,
  password: string,
  displayName: string,
  requestId: string,
): Promise<void> {
  await tellOwedSignOut();
  const response = await users.register({
    username,
    password,
    requestId,
    deviceName: deviceName(),
    profile: { displayName, timeZone: Intl.DateTimeFormat().resolvedOptions().timeZone },
  });
  access.accept(response.tokens);
  forgiveSignOut();
  setAccount(response.account);
}

// What has to be told to the server while the sign-in still counts.
const farewells = new Set<() => Promise<unknown>>();

// A sign-out does not wait longer for them: whoever leaves a shared computer leaves.
const FAREWELL_MS = 1_500;

/** Has `work` done before a sign-out, as long as that is quick. */
export function beforeSignOut(work: () => Promise<unknown>): void {
  farewells.add(work);
}

/**
 * Signs out here and at the server; here even where the server cannot be reached.
 *
 * Throws what the call throws. Then the server is told when the page opens again, or before the next
 * sign-in.
 */
export async function signOut(): Promise<void> {
  await sayFarewell();
  const refreshToken = access.refreshToken;
  forgetSignIn();
  await tellSignOut(refreshToken);
}

/** Ends the sign-in of every device, this one too. Throws what the call throws: then nothing ended. */
export async function signOutEverywhere(): Promise<void> {
  await sayFarewell();
  await users.revokeSession({ target: { case: "all", value: true } });
  // The cookie goes with it.
  await signOut().catch(() => undefined);
}

/** Forgets who is signed in, here and in the other tabs. */
export function forgetSignIn(): void {
  setAccount(undefined);
  access.forget();
  channel?.postMessage("signed-out");
}

async function sayFarewell(): Promise<void> {
  if (farewells.size === 0) return;
  const enough = new Promise((done) => setTimeout(done, FAREWELL_MS));
  await Promise.race([Promise.allSettled([...farewells].map((each) => each())), enough]);
}

/** Takes an account that a page has just read or changed. */
export function keepAccount(next: Account | undefined): void {
  setAccount(next);
}

/** The account, read once and kept; undefined until it is known. */
export function useAccount(): Account | undefined {
  return useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    () => account,
  );
}

/** Reads the account where it is not known yet. */
export async function loadAccount(signal?: AbortSignal): Promise<Account | undefined> {
  if (!account) {
    const response = await users.getProfile({}, signal ? { signal } : {});
    setAccount(response.account);
  }
  return account;
}

/** Why somebody who did not sign out has to sign in again; null where there is nothing to say. */
export function whySignedOut(): Problem | null {
  return access.endedBy && problemFromRefusal(access.endedBy);
}

/** Whether somebody is signed in. */
export function useAccessState(): AccessState {
  return useSyncExternalStore(access.subscribe, () => access.state);
}

/** What this browser is called in the list of places where one is signed in. */
export function deviceName(agent = navigator.userAgent): string {
  const browser = (
    [
      ["Edg/", "Edge"],
      ["OPR/", "Opera"],
      ["Firefox/", "Firefox"],
      ["Chrome/", "Chrome"],
      ["Safari/", "Safari"],
    ] as const
  ).find(([mark]) => agent.includes(mark))?.[1];
  const system = (
    [
      ["Android", "Android"],
      ["iPhone", "iPhone"],
      ["iPad", "iPad"],
      ["Windows", "Windows"],
      ["Mac OS", "macOS"],
      ["CrOS", "ChromeOS"],
      ["Linux", "Linux"],
    ] as const
  ).find(([mark]) => agent.includes(mark))?.[1];
  return [browser ?? "Browser", system && `on ${system}`].filter(Boolean).join(" ");
}
