/** `Subscribe` down, unary `Push` batches up: works in every browser and over HTTP/1.1. */

import { Code } from "@connectrpc/connect";
import type {
  ConverseRequest,
  StartSession,
} from "@parley/stubs/parley/conversation/v1/conversation_pb";

import { conversations } from "@/rpc/clients";
import { type Refusal, connectionLost, refusal, refusalFromError } from "@/rpc/refusal";

import { pageProtocol, sharesConnection } from "./choose";
import { farewell } from "./farewell";
import {
  CLOSE_WITHIN_MS,
  type Count,
  type Link,
  type LinkEvents,
  type Place,
  type SessionTransport,
  afterLastWords,
} from "./link";
import { type Batch, PushQueue } from "./push-queue";
import { AFFINITY_HEADER, subscribe } from "./subscription";

// Browsers open six connections to a server over HTTP/1.1: one listens, one stays for other calls.
const IN_FLIGHT_H1 = 4;
const IN_FLIGHT_H2 = 8;
// The server answers when it has taken a batch: after a break, what was said meanwhile takes a while.
const BATCH_TIMEOUT_MS = 10_000;
const MOST_TRIES = 3;
const PAUSE_MS = 150;

/** Sends the learner's side in batches, each of them tried up to three times. */
export class Push implements SessionTransport {
  readonly name = "push";
  readonly frameMs = 40;
  readonly countsStart = false;
  readonly farewell = farewell;

  open(start: StartSession, count: Count, events: LinkEvents): Link {
    const controller = new AbortController();
    const link = new PushLink(count, controller, events);
    subscribe(start, count, controller.signal, {
      place: (place) => link.begin(place),
      response: (response) => events.onResponse(response),
      end: (refused) => link.end(refused),
    });
    return link;
  }
}

class PushLink implements Link {
  readonly #queue: PushQueue;
  readonly #tries = new WeakMap<Batch, number>();
  #place: Place | null = null;
  #scheduled = false;
  #over = false;
  /** No batch is taken any more; the subscription may still have something to say. */
  #refused = false;

  constructor(
    count: Count,
    private readonly controller: AbortController,
    private readonly events: LinkEvents,
  ) {
    const inFlight = sharesConnection(pageProtocol()) ? IN_FLIGHT_H2 : IN_FLIGHT_H1;
    this.#queue = new PushQueue(inFlight, count);
  }

  get queued(): number {
    return this.#queue.queued;
  }

  get affinity(): string {
    return this.#place?.affinity ?? "";
  }

  begin(place: Place): void {
    this.#place = place;
    this.#pump();
  }

  send(request: ConverseRequest): void {
    this.#queue.add(request);
    if (this.#scheduled) return;
    // What one event sends travels together.
    this.#scheduled = true;
    queueMicrotask(() => {
      this.#scheduled = false;
      this.#pump();
    });
  }

  close(): void {
    this.#over = true;
    setTimeout(() => this.controller.abort(), CLOSE_WITHIN_MS);
  }

  abort(): void {
    this.#over = true;
    this.controller.abort();
  }

  leave(): void {
    this.abort();
  }

  end(refused: Refusal | null): void {
    if (this.#over) return;
    this.abort();
    this.events.onEnd(refused);
  }

  #pump(): void {
    const place = this.#place;
    if (!place || this.#over || this.#refused) return;
    for (let batch = this.#queue.next(); batch; batch = this.#queue.next()) {
      void this.#push(place, batch);
    }
  }

  async #push({ conversationId, affinity }: Place, batch: Batch): Promise<void> {
    const { signal } = this.controller;
    const tries = (this.#tries.get(batch) ?? 0) + 1;
    this.#tries.set(batch, tries);
    try {
      const { lastSeq } = await conversations.push(
        { conversationId, requests: [...batch.requests] },
        {
          signal,
          timeoutMs: BATCH_TIMEOUT_MS,
          headers: affinity ? { [AFFINITY_HEADER]: affinity } : {},
        },
      );
      this.#queue.answered(batch, lastSeq);
    } catch (error) {
      if (this.#over || this.#refused) return;
      const refused = lostIfLate(refusalFromError(error));
      if (tries >= MOST_TRIES || !connectionLost(refused)) {
        this.#refused = true;
        afterLastWords(refused, (why) => this.end(why));
        return;
      }
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS * tries));
      this.#queue.failed(batch);
    }
    this.#pump();
  }
}

/**
 * A batch without an answer in time, by our clock or the gateway's, is a connection that was lost:
 * whether it arrived is not known, and sending it again is harmless, since its numbers are the same.
 */
function lostIfLate(refused: Refusal): Refusal {
  const { code, reason, message } = refused;
  // A conversation that was idle for too long is refused with the same code, and is over.
  const late = code === Code.DeadlineExceeded && (reason === "" || reason === "DEADLINE_EXCEEDED");
  return late ? refusal(Code.Unavailable, message) : refused;
}
