/** `Subscribe` down, unary `Push` batches up: works in every browser and over HTTP/1.1. */

import type {
  ConverseRequest,
  StartSession,
} from "@parley/stubs/parley/conversation/v1/conversation_pb";

import { conversations } from "@/rpc/clients";
import { type Refusal, connectionLost, refusalFromError } from "@/rpc/refusal";

import { pageProtocol } from "./choose";
import type { Link, LinkEvents, SessionTransport } from "./link";
import { type Batch, PushQueue } from "./push-queue";
import { AFFINITY_HEADER, type Place, subscribe } from "./subscription";

// Browsers open six connections to a server over HTTP/1.1: one listens, one stays for other calls.
const IN_FLIGHT_H1 = 4;
const IN_FLIGHT_H2 = 8;
// A batch that waits longer is lost or useless; another try is better than patience.
const BATCH_TIMEOUT_MS = 4_000;
const MOST_TRIES = 3;
const PAUSE_MS = 150;

/** Sends the learner's side in batches, each of them tried up to three times. One a session. */
export class Push implements SessionTransport {
  readonly name = "push";
  readonly frameMs = 40;
  // Over the connections of one session: the count goes on.
  #queue = new PushQueue(mostInFlight());

  open(start: StartSession, _seq: bigint, events: LinkEvents): Link {
    if (start.resumeHandle) this.#queue = new PushQueue(mostInFlight(), this.#queue.acknowledged);
    const controller = new AbortController();
    let over = false;
    const finish = (refused: Refusal | null) => {
      if (over) return;
      over = true;
      controller.abort();
      events.onEnd(refused);
    };
    const link = new PushLink(this.#queue, controller.signal, finish, () => {
      over = true;
      controller.abort();
    });
    subscribe(start, controller.signal, {
      place: (place) => link.begin(place),
      response: (response) => {
        if (!over) events.onResponse(response);
      },
      end: finish,
    });
    return link;
  }
}

function mostInFlight(): number {
  return pageProtocol() === "http/1.1" ? IN_FLIGHT_H1 : IN_FLIGHT_H2;
}

class PushLink implements Link {
  readonly #tries = new WeakMap<Batch, number>();
  #place: Place | null = null;
  #scheduled = false;

  constructor(
    private readonly queue: PushQueue,
    private readonly signal: AbortSignal,
    private readonly onBroken: (refusal: Refusal) => void,
    readonly abort: () => void,
  ) {}

  get queued(): number {
    return this.queue.queued;
  }

  begin(place: Place): void {
    this.#place = place;
    this.#pump();
  }

  send(request: ConverseRequest): void {
    this.queue.add(request);
    if (this.#scheduled) return;
    // What one event sends travels together.
    this.#scheduled = true;
    queueMicrotask(() => {
      this.#scheduled = false;
      this.#pump();
    });
  }

  #pump(): void {
    const place = this.#place;
    if (!place || this.signal.aborted) return;
    for (let batch = this.queue.next(); batch; batch = this.queue.next()) {
      void this.#push(place, batch);
    }
  }

  async #push({ conversationId, affinity }: Place, batch: Batch): Promise<void> {
    const tries = (this.#tries.get(batch) ?? 0) + 1;
    this.#tries.set(batch, tries);
    try {
      const { lastSeq } = await conversations.push(
        { conversationId, requests: [...batch.requests] },
        {
          signal: this.signal,
          timeoutMs: BATCH_TIMEOUT_MS,
          headers: affinity ? { [AFFINITY_HEADER]: affinity } : {},
        },
      );
      this.queue.answered(batch, lastSeq);
    } catch (error) {
      if (this.signal.aborted) return;
      const refused = refusalFromError(error);
      if (tries >= MOST_TRIES || !connectionLost(refused)) {
        this.onBroken(refused);
        return;
      }
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS * tries));
      this.queue.failed(batch);
    }
    this.#pump();
  }
}
