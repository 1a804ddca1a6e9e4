/**
 * A sign-out that the server has to hear of: marked until it has.
 *
 * The cookie with the refresh token, which no script can read, goes with the server's answer. Until
 * then whoever comes next to this browser could find it, so what failed is told at the next chance.
 */

import { keep, kept } from "@/device/kept";
import { leaving } from "@/rpc/clients";

const KEY = "parley.sign-out-owed";
// The next sign-in waits for it: its cookie must not go with the old one.
const WITHIN_MS = 10_000;

let telling: Promise<void> | null = null;

/** Tells the server, also while the page goes away. Rejects with what the call threw: it is owed. */
export function tellSignOut(refreshToken: string): Promise<void> {
  keep(KEY, "1");
  const call = leaving.users
    .logout({ refreshToken }, { timeoutMs: WITHIN_MS })
    .then(forgiveSignOut)
    .finally(() => {
      if (telling === call) telling = null;
    });
  telling = call;
  return call;
}

/** Tells the server where that is owed, and waits for what is being told. Never rejects. */
export async function tellOwedSignOut(): Promise<void> {
  while (telling) await telling.catch(() => undefined);
  // The mark is all that is kept: where there was no cookie, the token went with the page.
  if (kept(KEY) === "1") await tellSignOut("").catch(() => undefined);
}

/** Nothing is owed: it was told, or another sign-in has taken the cookie's place. */
export function forgiveSignOut(): void {
  keep(KEY, null);
}
