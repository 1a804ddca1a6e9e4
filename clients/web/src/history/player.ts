/**
 * Plays a recording: fetches it when it is first wanted, then plays, seeks and changes speed.
 *
 * Positions never pass through React: whoever draws them asks `positionMs` in an animation frame.
 */

import { type Problem, problemFromError } from "@/rpc/problem";

/** The part of `HTMLAudioElement` that is used; tests bring their own. */
export interface AudioPlayer extends EventTarget {
  src: string;
  currentTime: number;
  playbackRate: number;
  preservesPitch: boolean;
  readonly paused: boolean;
  readonly ended: boolean;
  play(): Promise<void>;
  pause(): void;
  load(): void;
}

/** A recording fetched: an object URL, which the player frees. */
export type Fetch = (signal: AbortSignal, progress: (share: number) => void) => Promise<Blob>;

/** What is shown of a player. */
export interface PlayerState {
  /** `empty` until it is first wanted. */
  readonly phase: "empty" | "fetching" | "ready" | "failed";
  /** How much has come, 0 to 1. */
  readonly fetched: number;
  readonly playing: boolean;
  readonly rate: number;
  readonly problem: Problem | null;
}

/** The speeds to choose from: slower to catch a word, faster to find a place. */
export const PLAY_RATES = [0.6, 0.8, 1, 1.25, 1.5] as const;

const PLAYING_EVENTS = ["play", "playing", "pause", "ended"] as const;

/** One recording. */
export class Player {
  #state: PlayerState;
  #source: Fetch = () => Promise.reject(new Error("there is nothing to play yet"));
  #url = "";
  #fetching: AbortController | null = null;
  // Where to begin once the sound is there.
  #wantedMs = 0;
  #wantsToPlay = false;
  readonly #listeners = new Set<() => void>();

  constructor(
    private readonly audio: AudioPlayer,
    rate = 1,
  ) {
    this.#state = { phase: "empty", fetched: 0, playing: false, rate, problem: null };
    audio.preservesPitch = true;
  }

  /** Begins to listen to the audio element; returns what lets everything go. */
  open(): () => void {
    for (const name of PLAYING_EVENTS) this.audio.addEventListener(name, this.#onPlaying);
    this.audio.addEventListener("error", this.#onError);
    return () => {
      for (const name of PLAYING_EVENTS) this.audio.removeEventListener(name, this.#onPlaying);
      this.audio.removeEventListener("error", this.#onError);
      this.#drop();
      this.#become({ phase: "empty", fetched: 0, playing: false });
    };
  }

  readonly state = (): PlayerState => this.#state;

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  /** Where it stands, in milliseconds. */
  get positionMs(): number {
    return this.#state.phase === "ready" ? this.audio.currentTime * 1000 : this.#wantedMs;
  }

  /** Plays, from where it stands or from `fromMs`. */
  play(fromMs?: number): void {
    if (fromMs !== undefined) this.seek(fromMs);
    this.#wantsToPlay = true;
    if (this.#state.phase === "ready") void this.#start();
    else this.#fetch();
  }

  pause(): void {
    this.#wantsToPlay = false;
    this.audio.pause();
  }

  /** Plays or pauses. A press while it is being fetched takes the wish back. */
  toggle(): void {
    if (this.#state.playing || (this.#state.phase === "fetching" && this.#wantsToPlay))
      this.pause();
    else this.play();
  }

  /** Goes to a place, playing or not. */
  seek(ms: number): void {
    this.#wantedMs = Math.max(0, ms);
    if (this.#state.phase === "ready") this.audio.currentTime = this.#wantedMs / 1000;
  }

  setRate(rate: number): void {
    this.audio.playbackRate = rate;
    this.#become({ rate });
  }

  /** Plays this from now on: another recording, or one side of it, from where it stands. */
  use(source: Fetch): void {
    const playing = this.#state.playing || this.#wantsToPlay;
    const began = this.#state.phase !== "empty";
    this.#wantedMs = this.positionMs;
    this.#source = source;
    this.#drop();
    this.#become({ phase: "empty", fetched: 0, playing: false, problem: null });
    this.#wantsToPlay = playing;
    if (began) this.#fetch();
  }

  #drop(): void {
    this.#fetching?.abort();
    this.#fetching = null;
    this.audio.pause();
    if (this.#url) URL.revokeObjectURL(this.#url);
    this.#url = "";
  }

  #fetch(): void {
    if (this.#fetching) return;
    const controller = new AbortController();
    this.#fetching = controller;
    this.#become({ phase: "fetching", fetched: 0, problem: null });
    this.#source(controller.signal, (fetched) => {
      if (!controller.signal.aborted) this.#become({ fetched });
    }).then(
      (blob) => {
        if (!controller.signal.aborted) this.#take(blob);
      },
      (error: unknown) => {
        if (!controller.signal.aborted) this.#fail(problemFromError(error));
      },
    );
  }

  #take(blob: Blob): void {
    this.#fetching = null;
    this.#url = URL.createObjectURL(blob);
    this.audio.src = this.#url;
    this.audio.load();
    this.audio.playbackRate = this.#state.rate;
    this.audio.currentTime = this.#wantedMs / 1000;
    this.#become({ phase: "ready", fetched: 1 });
    if (this.#wantsToPlay) void this.#start();
  }

  async #start(): Promise<void> {
    try {
      await this.audio.play();
    } catch {
      // The browser wants another touch first; the button shows that it does not play.
      this.#onPlaying();
    }
  }

  #fail(problem: Problem): void {
    this.#fetching = null;
    this.#wantsToPlay = false;
    this.#become({ phase: "failed", playing: false, problem });
  }

  readonly #onPlaying = (): void => {
    const playing = !this.audio.paused && !this.audio.ended;
    if (!playing) this.#wantsToPlay = false;
    if (playing !== this.#state.playing) this.#become({ playing });
  };

  readonly #onError = (): void => {
    if (!this.#url) return;
    this.#fail({
      title: "This browser cannot play the recording.",
      advice: "Download it and play it with another program.",
      wayOn: "none",
      retryAfterMs: 0,
      fields: {},
      detail: "",
    });
  };

  #become(change: Partial<PlayerState>): void {
    this.#state = { ...this.#state, ...change };
    for (const listener of [...this.#listeners]) listener();
  }
}
