/** The microphone's side: whatever rate the machine has, out come frames of int16 at `toHz`. */

import { Framer } from "../framer";
import { Resampler } from "../resampler";
import type { CaptureOptions, CapturedMessage } from "./messages";

class Capture extends AudioWorkletProcessor {
  readonly #resampler: Resampler;
  readonly #framer: Framer;

  constructor(options: { readonly processorOptions?: unknown }) {
    super(options);
    const { toHz, frameSamples } = options.processorOptions as CaptureOptions;
    this.#resampler = new Resampler(sampleRate, toHz);
    this.#framer = new Framer(frameSamples);
  }

  process(inputs: readonly (readonly Float32Array[])[]): boolean {
    const channel = inputs[0]?.[0];
    if (!channel) return true;
    const endTime = currentTime + channel.length / sampleRate;
    for (const { pcm, firstSample, level } of this.#framer.push(this.#resampler.process(channel))) {
      const message: CapturedMessage = { pcm: pcm.buffer, firstSample, level, endTime };
      this.port.postMessage(message, [pcm.buffer]);
    }
    return true;
  }
}

registerProcessor("parley-capture", Capture);
