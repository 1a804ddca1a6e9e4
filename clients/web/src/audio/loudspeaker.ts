/** The loudspeaker: plays replies, says what was heard, falls silent at once. */

import type { Position } from "./jitter-buffer";
import type { PlaybackCommand, PlaybackOptions, PlaybackReport } from "./worklets/messages";
import { addWorklet } from "./worklet-module";
import playbackUrl from "./worklets/playback.worklet.ts?worker&url";

/** What the loudspeaker tells. */
export interface LoudspeakerEvents {
  /** Where it is: about every 40 ms while it plays, and at every change. */
  onPosition(position: Position, level: number): void;
  /** The first sample of a reply is in the air at `at`, on `performance.now`'s clock. */
  onSounded(generation: number, at: number): void;
}

/** What was played, for tests that listen: `globalThis.parleyTap`. */
export interface Tap {
  readonly rateHz: number;
  readonly blocks: Float32Array[];
}

declare global {
  var parleyTap: Tap | undefined;
}

const TAP_WISH = "parley.tap";

/** Plays replies at `rateHz` of the reply, whatever rate the machine has. */
export class Loudspeaker {
  readonly #node: AudioWorkletNode;

  /** Loads what playing needs. Once a context, before the first `new`. Throws as `addWorklet`. */
  static prepare(context: AudioContext): Promise<void> {
    return addWorklet(context, playbackUrl);
  }

  constructor(
    private readonly context: AudioContext,
    rateHz: number,
    events: LoudspeakerEvents,
  ) {
    const tap = wantsTap()
      ? { rateHz: context.sampleRate, blocks: [] as Float32Array[] }
      : undefined;
    if (tap) globalThis.parleyTap = tap;
    const processorOptions: PlaybackOptions = { fromHz: rateHz, tap: tap !== undefined };
    this.#node = new AudioWorkletNode(context, "parley-playback", {
      numberOfInputs: 0,
      numberOfOutputs: 1,
      outputChannelCount: [1],
      processorOptions,
    });
    this.#node.port.onmessage = ({ data }: MessageEvent<PlaybackReport>) => {
      switch (data.kind) {
        case "position":
          events.onPosition(data.position, data.level);
          break;
        case "sounded": {
          const ahead = (data.time - context.currentTime) * 1000 + latencyMs(context);
          events.onSounded(data.generation, performance.now() + ahead);
          break;
        }
        case "tap":
          tap?.blocks.push(new Float32Array(data.samples));
          break;
      }
    };
    this.#node.connect(context.destination);
    this.#tellLatency();
  }

  /** Makes room for a reply. */
  begin(generation: number): void {
    // Known only after the first sound has gone out, and changes with the headphones.
    this.#tellLatency();
    this.#send({ kind: "begin", generation });
  }

  /** Adds audio of a reply, int16 mono. */
  push(generation: number, offsetMs: number, pcm: Uint8Array): void {
    const copy = pcm.slice().buffer;
    this.#send({ kind: "push", generation, offsetMs, pcm: copy }, [copy]);
  }

  /** Nothing more of a reply will come. */
  complete(generation: number): void {
    this.#send({ kind: "complete", generation });
  }

  /** Falls silent at once and drops what is queued. */
  stop(generation: number): void {
    this.#send({ kind: "stop", generation });
  }

  /** Stops where it is. */
  hold(): void {
    this.#send({ kind: "hold" });
  }

  /** Goes on from there. */
  goOn(): void {
    this.#send({ kind: "go-on" });
  }

  close(): void {
    this.#node.port.onmessage = null;
    this.#node.disconnect();
  }

  #tellLatency(): void {
    this.#send({ kind: "latency", ms: latencyMs(this.context) });
  }

  #send(command: PlaybackCommand, transfer: Transferable[] = []): void {
    this.#node.port.postMessage(command, transfer);
  }
}

/** From the worklet to the air, in milliseconds. */
export function latencyMs(context: AudioContext): number {
  // Safari has no outputLatency, and some drivers report nonsense.
  const output = (context.outputLatency as number | undefined) ?? 0;
  return Math.min(500, Math.max(0, (context.baseLatency + output) * 1000));
}

function wantsTap(): boolean {
  try {
    return sessionStorage.getItem(TAP_WISH) === "1";
  } catch {
    return false;
  }
}
