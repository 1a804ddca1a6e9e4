/**
 * Deleting with a way back: a conversation goes when the time to undo is over, not before.
 *
 * The decision is kept in this browser until the server has heard it, so that closing the page
 * does not lose it: it is carried out while the page goes, and if that fails, at the next visit.
 */

/** What deleting needs of the world; tests bring their own. */
export interface DeletionWorld {
  /** Deletes for good. An id that is gone already must succeed. */
  erase(conversationId: string): Promise<void>;
  /** The same while the page goes away: nobody hears the answer. */
  eraseLeaving(conversationId: string): void;
  /** Calls after `ms`; returns what stops that. */
  after(ms: number, run: () => void): () => void;
  /** What is kept over reloads: the ids decided on. */
  kept: { get(): readonly string[]; set(ids: readonly string[]): void };
}

/** Where each conversation that is to go stands. */
export type Deletion = "waiting" | "going" | "gone" | "failed";

/** Long enough to read, to be startled, and to reach for "Undo" by keyboard. */
export const UNDO_MS = 10_000;

/** The deletions of this page. */
export class Deletions {
  #states: ReadonlyMap<string, Deletion> = new Map();
  // Every id that this page decided about; what is kept of others is another tab's.
  #own = new Set<string>();
  readonly #timers = new Map<string, () => void>();
  readonly #listeners = new Set<() => void>();

  constructor(private readonly world: DeletionWorld) {}

  /** What is being deleted, for `useSyncExternalStore`. */
  readonly states = (): ReadonlyMap<string, Deletion> => this.#states;

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  /** Decides: the conversation goes unless that is undone in time. */
  delete(id: string): void {
    if (this.#states.get(id) === "going") return;
    this.#become(id, "waiting");
    this.#keep();
    this.#timers.get(id)?.();
    this.#timers.set(
      id,
      this.world.after(UNDO_MS, () => void this.#carryOut(id)),
    );
  }

  /** Takes it back; false where it is too late. */
  undo(id: string): boolean {
    if (this.#states.get(id) !== "waiting") return false;
    this.#stopTimer(id);
    this.#become(id, undefined);
    this.#keep();
    return true;
  }

  /** Tries a failed one again, at once. */
  again(id: string): void {
    if (this.#states.get(id) === "failed") void this.#carryOut(id);
  }

  /** Carries out at once whatever waits: the sign-in that it needs is about to end. */
  async settle(): Promise<void> {
    const waiting = [...this.#states].filter(([, state]) => state === "waiting");
    await Promise.all(waiting.map(([id]) => this.#carryOut(id)));
  }

  /** The page goes away: whoever leaves has decided. */
  leave(): void {
    for (const [id, state] of this.#states) {
      if (state !== "waiting") continue;
      this.#stopTimer(id);
      this.#become(id, "going");
      this.world.eraseLeaving(id);
    }
  }

  /** The page came back out of the browser's memory, where its calls were cut off. */
  returned(): void {
    for (const [id, state] of this.#states) if (state === "going") void this.#carryOut(id);
  }

  /** Carries out what an earlier visit decided and could not tell the server. */
  async resume(): Promise<void> {
    const left = this.world.kept.get().filter((id) => !this.#states.has(id));
    await Promise.all(left.map((id) => this.#carryOut(id)));
  }

  /** Forgets everything: somebody else may sign in. */
  forget(): void {
    for (const id of [...this.#timers.keys()]) this.#stopTimer(id);
    this.#states = new Map();
    this.#own = new Set();
    this.#tell();
  }

  async #carryOut(id: string): Promise<void> {
    this.#stopTimer(id);
    this.#become(id, "going");
    const own = this.#own;
    const now: Deletion = await this.world.erase(id).then(
      () => "gone",
      () => "failed",
    );
    // Forgotten meanwhile: it must not be kept for who has signed in since.
    if (own !== this.#own) return;
    this.#become(id, now);
    this.#keep();
  }

  #stopTimer(id: string): void {
    this.#timers.get(id)?.();
    this.#timers.delete(id);
  }

  #keep(): void {
    const open = [...this.#states].filter(([, state]) => state !== "gone").map(([id]) => id);
    const others = this.world.kept.get().filter((id) => !this.#own.has(id));
    this.world.kept.set([...others, ...open]);
  }

  #become(id: string, state: Deletion | undefined): void {
    this.#own.add(id);
    const next = new Map(this.#states);
    if (state) next.set(id, state);
    else next.delete(id);
    this.#states = next;
    this.#tell();
  }

  #tell(): void {
    for (const listener of [...this.#listeners]) listener();
  }
}
