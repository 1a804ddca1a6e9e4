/**
 * The sign-in: an access token in memory, renewed before it expires, by one tab at a time.
 *
 * The refresh token lives in a cookie that no script can read. Using one twice ends the whole
 * sign-in, so tabs take turns (Web Locks) and one renewal serves all who wait for it.
 */

import { Code } from "@connectrpc/connect";
import type { TokenPair } from "@parley/stubs/parley/user/v1/user_pb";

import { type Refusal, RefusedError, refusal, refusalFromError } from "./refusal";

/** Whether somebody is signed in; `unknown` until the first renewal has answered. */
export type AccessState = "unknown" | "signed-in" | "signed-out";

/** What the sign-in needs of the world; tests bring their own. */
export interface AccessWorld {
  /** Calls `Refresh`. An empty token means: the cookie has it. */
  refresh(refreshToken: string): Promise<TokenPair | undefined>;
  /** Milliseconds since the epoch. */
  now(): number;
  /** Runs `work` while no other tab does the same. */
  exclusively<T>(work: () => Promise<T>): Promise<T>;
  /** A mark, kept over reloads, that a cookie may be there. Not a secret. */
  hint: { get(): boolean; set(signedIn: boolean): void };
}

// Renew this long before expiry: longer than a slow call takes, short beside a token's ten minutes.
const RENEW_BEFORE_MS = 30_000;
// Of a token that does not say how long it lives.
const UNSAID_LIFE_MS = 60_000;

/** Holds the access token. One for the page. */
export class Access {
  #token = "";
  #expiresAt = 0;
  // Where the server gives no cookie, the refresh token is kept here and lost with the page.
  #refreshToken = "";
  #userId = "";
  #endedBy: Refusal | null = null;
  #state: AccessState = "unknown";
  #renewing: Promise<string> | null = null;
  readonly #listeners = new Set<() => void>();

  constructor(private readonly world: AccessWorld) {
    if (!world.hint.get()) this.#state = "signed-out";
  }

  /** Whether somebody is signed in. */
  get state(): AccessState {
    return this.#state;
  }

  /** The refresh token to end the sign-in with: empty where the cookie has it. */
  get refreshToken(): string {
    return this.#refreshToken;
  }

  /** Whose sign-in it is; empty while that is not known, and where nobody is signed in. */
  get userId(): string {
    return this.#userId;
  }

  /** The refusal that ended the sign-in; null where nobody was signed in, or its owner ended it. */
  get endedBy(): Refusal | null {
    return this.#endedBy;
  }

  /** Calls `listener` at every change of state; returns what stops that. */
  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  /** Takes the tokens of a sign-in or a renewal. */
  accept(tokens: TokenPair | undefined): void {
    if (!tokens?.accessToken) throw new Error("the server sent no access token");
    this.#token = tokens.accessToken;
    const { subject, livesMs } = claimsOf(tokens.accessToken);
    this.#userId = subject;
    const now = this.world.now();
    const seconds = tokens.accessTokenExpiresAt?.seconds;
    // Counted from now on: the server's clock may be minutes away from ours.
    if (livesMs !== null) this.#expiresAt = now + livesMs;
    else this.#expiresAt = seconds === undefined ? now + UNSAID_LIFE_MS : Number(seconds) * 1000;
    this.#refreshToken = tokens.refreshToken;
    this.#endedBy = null;
    this.world.hint.set(true);
    this.#become("signed-in");
  }

  /** Forgets the sign-in here; ending it at the server is the caller's. */
  forget(): void {
    this.#end(null);
  }

  #end(refused: Refusal | null): void {
    this.#endedBy = refused;
    this.#token = "";
    this.#userId = "";
    this.#refreshToken = "";
    this.#expiresAt = 0;
    this.world.hint.set(false);
    this.#become("signed-out");
  }

  /**
   * Returns a token that works for a while, renewing it where needed.
   *
   * `rejected` is a token that the server has just refused, whatever its expiry says. Throws
   * RefusedError (TOKEN_MISSING) where nobody is signed in, and what Refresh threw where it could
   * not be asked; only a refusal ends the sign-in.
   */
  async token(rejected = ""): Promise<string> {
    if (this.#state === "signed-out") {
      throw new RefusedError(refusal(Code.Unauthenticated, "nobody is signed in", "TOKEN_MISSING"));
    }
    if (this.#usable(rejected)) return this.#token;
    this.#renewing ??= this.#renew(rejected).finally(() => {
      this.#renewing = null;
    });
    return this.#renewing;
  }

  /** Renews the token though it has not expired: a stream was refused with it. */
  async renew(): Promise<string> {
    return this.token(this.#token);
  }

  /** Finds out whether a sign-in was kept; never throws. */
  async restore(): Promise<void> {
    if (this.#state !== "unknown") return;
    try {
      await this.token();
    } catch (error) {
      // Not reachable: nobody is signed out for that. Calls will say so in their own place.
      if (refusalFromError(error).code !== Code.Unauthenticated) this.#become("signed-in");
    }
  }

  #usable(rejected: string): boolean {
    return (
      this.#token !== "" &&
      this.#token !== rejected &&
      this.#expiresAt - this.world.now() > RENEW_BEFORE_MS
    );
  }

  async #renew(rejected: string): Promise<string> {
    return this.world.exclusively(async () => {
      if (this.#usable(rejected)) return this.#token;
      try {
        this.accept(await this.world.refresh(this.#refreshToken));
      } catch (error) {
        const refused = refusalFromError(error);
        if (refused.code === Code.Unauthenticated) this.#end(refused);
        throw error;
      }
      return this.#token;
    });
  }

  #become(state: AccessState): void {
    if (state === this.#state) return;
    this.#state = state;
    for (const listener of [...this.#listeners]) listener();
  }
}

interface Claims {
  /** Whose it is; empty where it does not say. */
  readonly subject: string;
  /** How long it lives from when it was made, in milliseconds; null where it does not say. */
  readonly livesMs: number | null;
}

/** Reads what a token says of itself. The server alone judges it. */
function claimsOf(token: string): Claims {
  try {
    const payload = (token.split(".")[1] ?? "").replaceAll("-", "+").replaceAll("_", "/");
    const { sub, iat, exp } = JSON.parse(atob(payload)) as Record<string, unknown>;
    return {
      subject: typeof sub === "string" ? sub : "",
      livesMs: typeof iat === "number" && typeof exp === "number" ? (exp - iat) * 1000 : null,
    };
  } catch {
    return { subject: "", livesMs: null };
  }
}
