/** What page and worklets say to each other. */

import type { Position } from "../jitter-buffer";

/** How the capture worklet is made. */
export interface CaptureOptions {
  readonly toHz: number;
  readonly frameSamples: number;
}

/** From the capture worklet: one frame. */
export interface CapturedMessage {
  readonly pcm: ArrayBuffer;
  readonly firstSample: number;
  readonly level: number;
  /** When its last sample was taken in, on the audio clock, in seconds. */
  readonly endTime: number;
}

/** How the playback worklet is made. */
export interface PlaybackOptions {
  readonly fromHz: number;
  /** Send back every block that is played: for tests that listen. */
  readonly tap: boolean;
}

/** To the playback worklet. */
export type PlaybackCommand =
  | { readonly kind: "begin"; readonly generation: number }
  | {
      readonly kind: "push";
      readonly generation: number;
      readonly offsetMs: number;
      readonly pcm: ArrayBuffer;
    }
  | { readonly kind: "complete"; readonly generation: number }
  | { readonly kind: "stop"; readonly generation: number }
  | { readonly kind: "hold" }
  | { readonly kind: "go-on" }
  | { readonly kind: "latency"; readonly ms: number };

/** From the playback worklet. */
export type PlaybackReport =
  | {
      readonly kind: "position";
      readonly position: Position;
      /** Loudness of what was just played, 0 to 1. */
      readonly level: number;
      /** The audio clock at this moment, in seconds. */
      readonly time: number;
    }
  | { readonly kind: "sounded"; readonly generation: number; readonly time: number }
  | { readonly kind: "tap"; readonly samples: ArrayBuffer };
