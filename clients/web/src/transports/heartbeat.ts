/**
 * Whether a connection carries what is sent, and how far away the server is: by pings.
 *
 * Knows no clock of its own.
 */

const PING_EVERY_MS = 5_000;
// Three pings without a sign of life, and a second for the last of them, whatever TCP believes.
const LOST_AFTER_MS = 16_000;
// The first ping leaves with the first message. A way up that a proxy holds back carries none for
// as long as it is open, while the way down works: no silence tells.
const PROVED_WITHIN_MS = 8_000;
// Half a minute of them: the shortest is the line's own, and a line changes.
const ROUND_TRIPS_KEPT = 6;

/** What it needs of the world. */
export interface HeartbeatWorld {
  now(): number;
  /** Calls back once; returns what prevents that. */
  after(ms: number, run: () => void): () => void;
}

/** What it has to say. */
export interface HeartbeatEvents {
  /** Send this ping. */
  ping(nonce: bigint): void;
  /** The connection is dead: nothing has come for a while. It is silent from then on. */
  lost(): void;
  /** The connection stands, and no ping was ever answered: what is sent seems not to arrive. */
  unproved(): void;
}

/** Of one session: `begin` with each connection, `stop` with its end. */
export class Heartbeat {
  #nonce = 0n;
  /** When the newest ping left; null once it was answered. */
  #sentAt: number | null = null;
  #heardAt = 0;
  #proved = false;
  #roundTrips: readonly number[] = [];
  #cancelBeat: (() => void) | null = null;
  #cancelProof: (() => void) | null = null;

  constructor(
    private readonly world: HeartbeatWorld,
    private readonly on: HeartbeatEvents,
  ) {}

  /** The shortest of the last round trips, in milliseconds; null before the first. */
  get roundTripMs(): number | null {
    return this.#roundTrips.length > 0 ? Math.min(...this.#roundTrips) : null;
  }

  /** Whether a ping was ever answered: what is sent arrives. */
  get proved(): boolean {
    return this.#proved;
  }

  /** Sends pings from now on. */
  begin(): void {
    this.stop();
    this.#heardAt = this.world.now();
    this.#beat();
    if (!this.#proved) {
      this.#cancelProof = this.world.after(PROVED_WITHIN_MS, () => this.on.unproved());
    }
  }

  /** Something came from the server. */
  heard(): void {
    this.#heardAt = this.world.now();
  }

  /** Takes a pong. Only the newest ping's is measured: one that is late says little. */
  pong(nonce: bigint): void {
    // Those of nonce 0 come unasked.
    if (nonce === 0n) return;
    this.#proved = true;
    this.#cancelProof?.();
    if (nonce !== this.#nonce || this.#sentAt === null) return;
    const tookMs = this.world.now() - this.#sentAt;
    this.#sentAt = null;
    this.#roundTrips = [...this.#roundTrips, tookMs].slice(-ROUND_TRIPS_KEPT);
  }

  /** Sends no more of them, and says nothing. */
  stop(): void {
    this.#cancelBeat?.();
    this.#cancelBeat = null;
    this.#cancelProof?.();
    this.#cancelProof = null;
  }

  #beat(): void {
    const now = this.world.now();
    if (now - this.#heardAt > LOST_AFTER_MS) {
      this.stop();
      this.on.lost();
      return;
    }
    this.#nonce += 1n;
    this.#sentAt = now;
    this.#cancelBeat = this.world.after(PING_EVERY_MS, () => this.#beat());
    this.on.ping(this.#nonce);
  }
}
