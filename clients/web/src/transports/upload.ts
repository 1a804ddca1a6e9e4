/**
 * Full duplex over grpc-web: `Subscribe` down, one streamed `Upload` up.
 *
 * A fetch whose body is a stream is half duplex: it answers when the body has ended. So the uplink
 * is a request of its own, written by hand: connect's web transport sends whole bodies only.
 */

import { create, toBinary } from "@bufbuild/protobuf";
import { Code } from "@connectrpc/connect";
import {
  type ConverseRequest,
  UploadRequestSchema,
} from "@parley/stubs/parley/conversation/v1/conversation_pb";

import { CLIENT_HEADER, access } from "@/rpc/clients";
import { type Refusal, refusal, refusalFromError } from "@/rpc/refusal";

import { farewell } from "./farewell";
import { envelope, readTrailers } from "./grpc-web";
import { CLOSE_WITHIN_MS, type Place, type SessionTransport, afterLastWords } from "./link";
import { AFFINITY_HEADER, subscribe } from "./subscription";

const PATH = "/parley.conversation.v1.ConversationService/Upload";

/** Streams the learner's side in one request. */
export const upload: SessionTransport = {
  name: "upload",
  frameMs: 20,
  countsStart: false,
  farewell,
  open(start, count, events) {
    const controller = new AbortController();
    const uplink = new Uplink(controller.signal, (refused) => afterLastWords(refused, finish));
    let over = false;
    const finish = (refused: Refusal | null) => {
      if (over) return;
      over = true;
      controller.abort();
      events.onEnd(refused);
    };
    subscribe(start, count, controller.signal, {
      place: (place) => uplink.begin(place),
      response: (response) => {
        if (!over) events.onResponse(response);
      },
      end: finish,
    });
    const abort = () => {
      over = true;
      controller.abort();
    };
    return {
      get queued() {
        return uplink.queued;
      },
      get affinity() {
        return uplink.affinity;
      },
      send: (request) => uplink.send(request),
      close: () => {
        over = true;
        uplink.close();
        setTimeout(() => controller.abort(), CLOSE_WITHIN_MS);
      },
      abort,
      leave: abort,
    };
  },
};

class Uplink {
  #writer: ReadableStreamDefaultController<Uint8Array> | null = null;
  #place: Place | null = null;
  #named = false;

  constructor(
    private readonly signal: AbortSignal,
    private readonly onBroken: (refusal: Refusal) => void,
  ) {}

  /** Messages that the browser has not taken yet. */
  get queued(): number {
    return this.#writer ? Math.max(0, 1 - (this.#writer.desiredSize ?? 1)) : 0;
  }

  get affinity(): string {
    return this.#place?.affinity ?? "";
  }

  begin(place: Place): void {
    this.#place = place;
    const body = new ReadableStream<Uint8Array>({
      start: (controller) => {
        this.#writer = controller;
      },
    });
    this.#request(place, body).then(
      (refused) => {
        // The server answers an upload when the session is over; the subscription says how.
        if (!this.signal.aborted && refused) this.onBroken(refused);
      },
      (error: unknown) => {
        if (!this.signal.aborted) this.onBroken(refusalFromError(error));
      },
    );
  }

  send(request: ConverseRequest): void {
    if (!this.#writer || !this.#place || this.signal.aborted) return;
    const message = create(UploadRequestSchema, {
      request,
      conversationId: this.#named ? "" : this.#place.conversationId,
    });
    this.#named = true;
    try {
      this.#writer.enqueue(envelope(toBinary(UploadRequestSchema, message)));
    } catch {
      // The browser has closed the stream; the request's own end says why.
    }
  }

  close(): void {
    try {
      this.#writer?.close();
    } catch {
      // It was closed already.
    }
  }

  async #request(place: Place, body: ReadableStream<Uint8Array>): Promise<Refusal | null> {
    const init: RequestInit & { duplex: "half" } = {
      method: "POST",
      body,
      duplex: "half",
      signal: this.signal,
      credentials: "same-origin",
      headers: {
        "content-type": "application/grpc-web+proto",
        "x-grpc-web": "1",
        authorization: `Bearer ${await access.token()}`,
        [CLIENT_HEADER.name]: CLIENT_HEADER.value,
        ...(place.affinity && { [AFFINITY_HEADER]: place.affinity }),
      },
    };
    const response = await fetch(new URL(PATH, location.origin), init);
    if (!response.ok && !response.headers.has("grpc-status")) {
      return refusal(Code.Unavailable, `HTTP ${response.status}`);
    }
    return readTrailers(response.headers, new Uint8Array(await response.arrayBuffer()));
  }
}
