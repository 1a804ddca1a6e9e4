import { create } from "@bufbuild/protobuf";
import { Code } from "@connectrpc/connect";
import { type TokenPair, TokenPairSchema } from "@parley/stubs/parley/user/v1/user_pb";
import { beforeEach, expect, test, vi } from "vitest";

import { Access, type AccessWorld } from "./access";
import { RefusedError, refusal } from "./refusal";

let now: number;
let hinted: boolean;
let world: AccessWorld;
let refresh: ReturnType<typeof vi.fn<(token: string) => Promise<TokenPair | undefined>>>;

function pair(name: string, livesMs = 600_000): TokenPair {
  const expires = BigInt(Math.floor((now + livesMs) / 1000));
  return create(TokenPairSchema, { accessToken: name, accessTokenExpiresAt: { seconds: expires } });
}

/** A token as the server makes them, by a clock that is `behindMs` behind ours. */
function jwt(id: string, livesMs: number, behindMs: number): TokenPair {
  const iat = Math.floor((now - behindMs) / 1000);
  const exp = iat + livesMs / 1000;
  const payload = btoa(JSON.stringify({ sub: "u-1", jti: id, iat, exp })).replace(/=+$/, "");
  return create(TokenPairSchema, {
    accessToken: `h.${payload}.s`,
    accessTokenExpiresAt: { seconds: BigInt(exp) },
  });
}

beforeEach(() => {
  now = 1_000_000;
  hinted = true;
  refresh = vi.fn(() => Promise.resolve(pair("fresh")));
  world = {
    refresh,
    now: () => now,
    exclusively: (work) => work(),
    hint: {
      get: () => hinted,
      set: (signedIn) => {
        hinted = signedIn;
      },
    },
  };
});

test("a first visit asks nobody: there is no sign-in to be kept", async () => {
  hinted = false;
  const access = new Access(world);
  await access.restore();
  expect([access.state, refresh.mock.calls.length]).toEqual(["signed-out", 0]);
  await expect(access.token()).rejects.toThrow(RefusedError);
});

test("a sign-in is found again by its cookie, without a token in any script", async () => {
  const access = new Access(world);
  expect(access.state).toBe("unknown");
  await access.restore();
  expect(access.state).toBe("signed-in");
  expect(refresh).toHaveBeenCalledExactlyOnceWith("");
});

test("all who wait are served by one renewal", async () => {
  const access = new Access(world);
  const tokens = await Promise.all([access.token(), access.token(), access.token()]);
  expect(tokens).toEqual(["fresh", "fresh", "fresh"]);
  expect(refresh).toHaveBeenCalledTimes(1);
});

test("a token is renewed before it expires, and not long before", async () => {
  const access = new Access(world);
  access.accept(pair("first"));
  now += 500_000;
  expect(await access.token()).toBe("first");
  now += 80_000;
  expect(await access.token()).toBe("fresh");
});

test.each([
  ["fast", 600_000],
  ["slow", -600_000],
])("a clock that is ten minutes %s renews a token no more and no less often", async (_, ms) => {
  const access = new Access(world);
  access.accept(jwt("first", 600_000, ms));
  const first = await access.token();
  now += 500_000;
  expect(await access.token()).toBe(first);
  expect(refresh).not.toHaveBeenCalled();
  now += 80_000;
  expect(await access.token()).toBe("fresh");
});

test("a token that was just refused is renewed whatever its expiry says", async () => {
  const access = new Access(world);
  access.accept(pair("first"));
  expect(await access.token("first")).toBe("fresh");
  expect(await access.token("first")).toBe("fresh");
  expect(refresh).toHaveBeenCalledTimes(1);
});

test("a refusal of the refresh token ends the sign-in and says so once", async () => {
  refresh.mockRejectedValue(
    new RefusedError(refusal(Code.Unauthenticated, "used", "REFRESH_TOKEN_REUSED")),
  );
  const access = new Access(world);
  const told = vi.fn();
  access.subscribe(told);
  await access.restore();
  expect([access.state, hinted, told.mock.calls.length]).toEqual(["signed-out", false, 1]);
});

test("a server that is away signs nobody out", async () => {
  refresh.mockRejectedValueOnce(new TypeError("Failed to fetch"));
  const access = new Access(world);
  await access.restore();
  expect([access.state, hinted]).toEqual(["signed-in", true]);
  expect(await access.token()).toBe("fresh");
});

test("knows whose sign-in it is, as long as there is one", () => {
  const access = new Access(world);
  access.accept(pair(`h.${btoa(JSON.stringify({ sub: "u-1" })).replace(/=+$/, "")}.s`));
  expect(access.userId).toBe("u-1");
  access.accept(pair("not one of ours"));
  expect(access.userId).toBe("");
  access.accept(pair(`h.${btoa('{"sub":"u-2"}')}.s`));
  access.forget();
  expect(access.userId).toBe("");
});

test("a sign-in that the server ended says why, until there is another", async () => {
  const access = new Access(world);
  await access.restore();
  expect(access.endedBy).toBeNull();
  const reused = refusal(Code.Unauthenticated, "", "REFRESH_TOKEN_REUSED");
  refresh.mockRejectedValueOnce(new RefusedError(reused));
  const seen: unknown[] = [];
  access.subscribe(() => seen.push(access.endedBy));
  await expect(access.renew()).rejects.toThrow(RefusedError);
  expect(seen).toEqual([reused]);
  access.accept(pair("another"));
  expect(access.endedBy).toBeNull();
  access.forget();
  expect([access.state, access.endedBy]).toEqual(["signed-out", null]);
});
