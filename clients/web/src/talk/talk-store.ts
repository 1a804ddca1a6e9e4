/** What is known of the page's talk, and who is told when that changes. */

import { IDLE, type Levels, type TalkState } from "./talk-state";
import { type Event, reduce } from "./view";

/** The state of a talk. Components read it; the talk alone changes it. */
export class TalkStore {
  #state = IDLE;
  #levels: Levels = { learner: 0, tutor: 0 };
  readonly #listeners = new Set<() => void>();

  get state(): TalkState {
    return this.#state;
  }

  /** How loud both sides are just now; nobody is told of it. */
  get levels(): Levels {
    return this.#levels;
  }

  /** Calls back at every change; returns what ends that. */
  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  /** Puts another state in the place of this one. */
  set(state: TalkState): void {
    this.#state = state;
    for (const listener of [...this.#listeners]) listener();
  }

  /** Changes a part of it. */
  change(part: Partial<TalkState>): void {
    this.set({ ...this.#state, ...part });
  }

  /** Changes what the session's view shows; nobody is told where an event changes nothing. */
  dispatch(event: Event): void {
    const view = reduce(this.#state.view, event);
    if (view !== this.#state.view) this.change({ view });
  }

  /** Takes in how loud a side is. */
  sound(part: Partial<Levels>): void {
    this.#levels = { ...this.#levels, ...part };
  }
}
