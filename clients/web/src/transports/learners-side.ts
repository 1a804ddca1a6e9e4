/**
 * The learner's side of a session: numbered once, sent while there is a connection, kept while it may
 * have to be sent again.
 *
 * Of changes of settings and reports of what was heard only the newest state is kept: a new
 * connection is told that.
 */

import { type MessageInitShape, create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import {
  type ChangeSettings,
  ChangeSettingsSchema,
  type ConverseRequest,
  ConverseRequestSchema,
  type Heard,
  HeardSchema,
} from "@parley/stubs/parley/conversation/v1/conversation_pb";

import { Backlog } from "./backlog";
import type { Link } from "./link";

/** A message of the learner's, as it is made. */
export type Message = NonNullable<MessageInitShape<typeof ConverseRequestSchema>["message"]>;

/** Everything that one session's learner says and does. */
export class LearnersSide {
  #seq = 0n;
  /** The last number that may have left while a connection stood; null before the first. */
  #leftSeq: bigint | null = null;
  #link: Link | null = null;
  #heard: Heard | null = null;
  #settings: ChangeSettings | null = null;
  readonly #backlog: Backlog;

  constructor(sampleRateHz: number) {
    this.#backlog = new Backlog(sampleRateHz);
  }

  /** The last number that was used. */
  get seq(): bigint {
    return this.#seq;
  }

  /** The last number that the server may know of. */
  get leftSeq(): bigint {
    return this.#link ? this.#seq : (this.#leftSeq ?? this.#seq);
  }

  /** The lowest number that might be sent again; 0 where nothing is kept. */
  get firstSeq(): bigint {
    return this.#backlog.firstSeq;
  }

  /** The newest report of what was heard. */
  get heard(): Heard | null {
    return this.#heard;
  }

  /** Numbers on from what another page sent. */
  countFrom(seq: bigint): void {
    this.#seq = seq;
    this.#leftSeq = seq;
  }

  /** Takes a number for what is not sent from here: the start of a connection. */
  takeNumber(): bigint {
    this.#seq += 1n;
    return this.#seq;
  }

  /**
   * A connection stands: sends what came meanwhile and what may be lost, under the old numbers.
   *
   * Audio before `nextSample` has arrived. `resumed`: the session is told of all settings.
   */
  begin(link: Link, nextSample: number, resumed: boolean): void {
    this.#link = link;
    for (const request of this.#backlog.again(nextSample)) link.send(request);
    if (resumed || this.#settings) this.#send({ case: "settings", value: this.#settings ?? {} });
  }

  /** The connection is lost: what is said from now on waits for another. */
  end(): void {
    if (this.#link) this.#leftSeq = this.#seq;
    this.#link = null;
  }

  /** Sends a message, or keeps it for the connection to come. */
  post(message: Message): void {
    this.#backlog.add(this.#send(message));
  }

  /** Reports how much of a reply has been played; a report without its delay keeps the last one's. */
  postHeard(generation: bigint, audioMs: number, playDelayMs: number | undefined): void {
    const older = this.#heard?.generation === generation ? this.#heard : null;
    const delay = playDelayMs ?? older?.playDelayMs;
    this.#heard = create(HeardSchema, {
      generation,
      audioMs,
      ...(delay !== undefined && { playDelayMs: delay }),
    });
    if (this.#link) this.#send({ case: "heard", value: this.#heard });
  }

  /** Changes settings. */
  postSettings(change: MessageInitShape<typeof ChangeSettingsSchema>): void {
    this.#settings = create(ChangeSettingsSchema, {
      ...this.#settings,
      ...change,
    } as typeof change);
    if (this.#link) this.#send({ case: "settings", value: create(ChangeSettingsSchema, change) });
  }

  #send(message: Message): ConverseRequest {
    const request = create(ConverseRequestSchema, {
      seq: this.takeNumber(),
      clientTime: timestampFromMs(Date.now()),
      message,
    });
    this.#link?.send(request);
    return request;
  }
}
