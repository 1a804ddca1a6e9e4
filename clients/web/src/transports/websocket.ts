/** One WebSocket at /ws: the messages of `Converse`, one a binary frame. */

import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { Code } from "@connectrpc/connect";
import {
  type ConverseRequest,
  ConverseRequestSchema,
  type ConverseResponse,
  ConverseResponseSchema,
} from "@parley/stubs/parley/conversation/v1/conversation_pb";

import { access } from "@/rpc/clients";
import { type Refusal, codeOf, refusal, refusalFromError, refusalFromStatus } from "@/rpc/refusal";

import { CLOSE_WITHIN_MS, type Link, type LinkEvents, type SessionTransport } from "./link";

const PROTOCOL = "parley.v1";
// A page cannot set headers on a WebSocket, and a token has no place in a URL.
const TOKEN_PREFIX = "parley.token.";
const GOOD_END = 1000;
// The server closes with 4000 plus the gRPC code; the text is the reason.
const FIRST_CLOSE_CODE = 4000;
// About the size of one audio message as it travels: turns bytes into messages for diagnostics.
const FRAME_BYTES = 660;

/** Everything over one WebSocket. */
export const websocket: SessionTransport = {
  name: "websocket",
  frameMs: 20,
  countsStart: true,
  open(start, { seq, affinity }, events) {
    const first = create(ConverseRequestSchema, { seq, message: { case: "start", value: start } });
    return new SocketLink(first, affinity ?? "", events);
  },
};

class SocketLink implements Link {
  #socket: WebSocket | null = null;
  #over = false;
  #told: Refusal | null = null;

  constructor(
    first: ConverseRequest,
    // Of another way into the same process it leads nowhere: the server says where (SESSION_ELSEWHERE).
    readonly affinity: string,
    private readonly events: LinkEvents,
  ) {
    access.token().then(
      (token) => this.#connect(token, first),
      (error: unknown) => this.#end(refusalFromError(error)),
    );
  }

  get queued(): number {
    return Math.round((this.#socket?.bufferedAmount ?? 0) / FRAME_BYTES);
  }

  send(request: ConverseRequest): void {
    if (this.#socket?.readyState !== WebSocket.OPEN) return;
    this.#socket.send(toBinary(ConverseRequestSchema, request));
  }

  close(): void {
    this.#over = true;
    // The server closes first, with a good end.
    setTimeout(() => this.#socket?.close(GOOD_END), CLOSE_WITHIN_MS);
  }

  abort(): void {
    this.#over = true;
    // Not 1000: that would end the session in good order.
    this.#socket?.close(4999, "aborted");
  }

  leave(): void {
    this.#over = true;
    // The server takes a good end for the learner's; there is no time to wait for its own.
    this.#socket?.close(GOOD_END);
  }

  #connect(token: string, first: ConverseRequest): void {
    if (this.#over) return;
    const url = new URL("/ws", location.href);
    if (this.affinity) url.searchParams.set("at", this.affinity);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(url, [PROTOCOL, TOKEN_PREFIX + token]);
    socket.binaryType = "arraybuffer";
    this.#socket = socket;
    socket.addEventListener("open", () => this.send(first));
    socket.addEventListener("message", ({ data }) => this.#receive(data));
    socket.addEventListener("close", (event) => this.#end(this.#refusalOf(event)));
  }

  #receive(data: unknown): void {
    if (this.#over || !(data instanceof ArrayBuffer)) return;
    const response: ConverseResponse = fromBinary(ConverseResponseSchema, new Uint8Array(data));
    const { message } = response;
    // What ends the connection: not part of the session, so it has no number.
    if (message.case === "notice" && message.value.fatal && response.seq === 0n) {
      this.#told = refusalFromStatus(message.value.status);
      return;
    }
    this.events.onResponse(response);
  }

  #refusalOf({ code, reason }: CloseEvent): Refusal | null {
    if (this.#told) return this.#told;
    if (code === GOOD_END) return null;
    const number = code - FIRST_CLOSE_CODE;
    if (number in Code) return refusal(codeOf(number), reason, reason);
    return refusal(Code.Unavailable, `the WebSocket closed with ${code}`);
  }

  #end(refused: Refusal | null): void {
    if (this.#over) return;
    this.#over = true;
    this.events.onEnd(refused);
  }
}
