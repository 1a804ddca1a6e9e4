/** Whether a connection is alive, and how far away the server is. Knows no clock of its own. */

// A connection without any answer to three pings is dead, whatever TCP believes.
const PING_EVERY_MS = 5_000;
const LOST_AFTER_MS = 16_000;

/** What it needs of the world. */
export interface HeartbeatWorld {
  now(): number;
  /** Calls back once; returns what prevents that. */
  after(ms: number, run: () => void): () => void;
}

/** Of one session: `begin` with each connection, `stop` with its end. */
export class Heartbeat {
  #nonce = 0n;
  #sentAt = 0;
  #heardAt = 0;
  #roundTripMs: number | null = null;
  #cancel: (() => void) | null = null;

  constructor(
    private readonly world: HeartbeatWorld,
    private readonly ping: (nonce: bigint) => void,
    private readonly lost: () => void,
  ) {}

  /** The shortest round trip of the last ones, in milliseconds; null before the first. */
  get roundTripMs(): number | null {
    return this.#roundTripMs;
  }

  /** Sends pings from now on. */
  begin(): void {
    this.stop();
    this.#heardAt = this.world.now();
    this.#beat();
  }

  /** Something came from the server. */
  heard(): void {
    this.#heardAt = this.world.now();
  }

  /** Takes the answer to a ping. Only the newest counts: an older one that is late says little. */
  pong(nonce: bigint): void {
    if (nonce !== this.#nonce || this.#sentAt === 0) return;
    const measured = this.world.now() - this.#sentAt;
    this.#sentAt = 0;
    this.#roundTripMs =
      this.#roundTripMs === null ? measured : Math.min(this.#roundTripMs, measured);
  }

  /** Sends no more of them. */
  stop(): void {
    this.#cancel?.();
    this.#cancel = null;
  }

  #beat(): void {
    if (this.world.now() - this.#heardAt > LOST_AFTER_MS) {
      this.stop();
      this.lost();
      return;
    }
    this.#nonce += 1n;
    this.#sentAt = this.world.now();
    this.ping(this.#nonce);
    this.#cancel = this.world.after(PING_EVERY_MS, () => this.#beat());
  }
}
