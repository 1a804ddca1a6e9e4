/** Cuts a stream into frames of int16 samples. Pure. */

/** One frame of the microphone. */
export interface Frame {
  /** int16 mono. */
  readonly pcm: Int16Array<ArrayBuffer>;
  /** Index of its first sample since the stream began. */
  readonly firstSample: number;
  /** Loudness: root mean square, 0 to 1. */
  readonly level: number;
}

/** Gathers samples until a frame is full. */
export class Framer {
  #pcm: Int16Array<ArrayBuffer>;
  #filled = 0;
  #power = 0;
  #next = 0;

  constructor(readonly frameSamples: number) {
    this.#pcm = new Int16Array(frameSamples);
  }

  /** Takes samples from -1 to 1, louder ones are clipped; returns the frames that became full. */
  push(samples: Float32Array): Frame[] {
    const frames: Frame[] = [];
    for (const sample of samples) {
      const clipped = Math.max(-1, Math.min(1, sample));
      this.#pcm[this.#filled] = Math.round(clipped * 32767);
      this.#power += clipped * clipped;
      this.#filled += 1;
      if (this.#filled === this.frameSamples) frames.push(this.#cut());
    }
    return frames;
  }

  #cut(): Frame {
    const frame: Frame = {
      pcm: this.#pcm,
      firstSample: this.#next,
      level: Math.sqrt(this.#power / this.frameSamples),
    };
    this.#next += this.frameSamples;
    this.#pcm = new Int16Array(this.frameSamples);
    this.#filled = 0;
    this.#power = 0;
    return frame;
  }
}
