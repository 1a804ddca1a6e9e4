/**
 * Parley's services as this page calls them: grpc-web to the origin that served the page.
 *
 * Every call says `x-parley-client: web`, and carries the access token unless it needs none. A
 * refused token is renewed and the call made once more: it was refused before it ran.
 */

import {
  Code,
  ConnectError,
  type Interceptor,
  type StreamRequest,
  type UnaryRequest,
  createClient,
} from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";
import { AiService } from "@parley/stubs/parley/ai/v1/ai_pb";
import { ConversationService } from "@parley/stubs/parley/conversation/v1/conversation_pb";
import { HistoryService } from "@parley/stubs/parley/history/v1/history_pb";
import { MediaService } from "@parley/stubs/parley/media/v1/media_pb";
import { UserService } from "@parley/stubs/parley/user/v1/user_pb";

import { keep, kept } from "@/device/kept";

import { Access } from "./access";

/** Tells the server that this caller keeps its refresh token in a cookie. */
export const CLIENT_HEADER = { name: "x-parley-client", value: "web" } as const;

// Long enough for a cold service behind the gateway, short enough that nobody thinks it hangs.
const UNARY_TIMEOUT_MS = 15_000;

const OPEN_TO_ALL = new Set(["Register", "Login", "Refresh", "Logout", "GetJwks"]);

const HINT = "parley.signed-in";

/** The sign-in of this page. */
export const access = new Access({
  refresh: async (refreshToken) => (await users.refresh({ refreshToken })).tokens,
  now: () => Date.now(),
  exclusively: async (work) =>
    // Absent on a plain-HTTP origin other than localhost, where one tab has to do.
    "locks" in navigator ? await navigator.locks.request("parley.refresh", work) : await work(),
  hint: {
    get: () => kept(HINT) === "1",
    set: (signedIn) => keep(HINT, signedIn ? "1" : null),
  },
});

const identify: Interceptor = (next) => async (request: UnaryRequest | StreamRequest) => {
  request.header.set(CLIENT_HEADER.name, CLIENT_HEADER.value);
  if (OPEN_TO_ALL.has(request.method.name)) return next(request);
  const token = await access.token();
  request.header.set("authorization", `Bearer ${token}`);
  try {
    return await next(request);
  } catch (error) {
    if (request.stream || !(error instanceof ConnectError) || error.code !== Code.Unauthenticated) {
      throw error;
    }
    request.header.set("authorization", `Bearer ${await access.token(token)}`);
    return next(request);
  }
};

/** The transport of all unary calls and of streams from the server. */
export const transport = createGrpcWebTransport({
  baseUrl: globalThis.location.origin,
  useBinaryFormat: true,
  interceptors: [identify],
  defaultTimeoutMs: UNARY_TIMEOUT_MS,
  fetch: (input, init) => fetch(input, { ...init, credentials: "same-origin" }),
});

// What is said while the page goes away: the browser finishes these calls without it.
const leavingTransport = createGrpcWebTransport({
  baseUrl: globalThis.location.origin,
  useBinaryFormat: true,
  interceptors: [identify],
  fetch: (input, init) => fetch(input, { ...init, credentials: "same-origin", keepalive: true }),
});

export const users = createClient(UserService, transport);
export const conversations = createClient(ConversationService, transport);
export const ai = createClient(AiService, transport);
export const histories = createClient(HistoryService, transport);
export const media = createClient(MediaService, transport);

/** The same services for calls that outlive the page. */
export const leaving = {
  conversations: createClient(ConversationService, leavingTransport),
  histories: createClient(HistoryService, leavingTransport),
  users: createClient(UserService, leavingTransport),
};
