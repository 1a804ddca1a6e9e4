/**
 * Changes the sample rate of a stream: a windowed-sinc low-pass at either side's lower half rate.
 *
 * Pure and incremental: however the input is cut, the output is the same. Delay: `ZEROS` samples of
 * the slower rate (1 ms at 16 kHz). Kaiser window, beta 8: aliases are about 80 dB down
 * (J. O. Smith, "Digital Audio Resampling", 2002).
 */

const ZEROS = 16;
const BETA = 8;
// Steps between two input samples at which the filter is tabulated; between them it is a line.
const PHASES = 256;
// The pass band ends a little below half the rate, so that the filter's slope lies above hearing.
const ROLLOFF = 0.94;

/** One stream from `fromHz` to `toHz`. */
export class Resampler {
  readonly #step: number;
  readonly #half: number;
  readonly #table: Float32Array;
  #history: Float32Array;
  #filled: number;
  /** Where the next output lies, in input samples from the beginning of `#history`. */
  #position: number;

  constructor(
    readonly fromHz: number,
    readonly toHz: number,
  ) {
    this.#step = fromHz / toHz;
    const scale = Math.min(1, toHz / fromHz);
    this.#half = Math.ceil(ZEROS / scale);
    this.#table = kernel(this.#half, scale * ROLLOFF);
    this.#history = new Float32Array(4096);
    this.#filled = this.#half;
    this.#position = this.#half;
  }

  /** Forgets what came before, as at the beginning. */
  reset(): void {
    this.#history.fill(0);
    this.#filled = this.#half;
    this.#position = this.#half;
  }

  /** Takes input and returns the output that it makes possible. */
  process(input: Float32Array): Float32Array {
    if (this.fromHz === this.toHz) return input;
    this.#append(input);
    const last = this.#filled - this.#half;
    const count = Math.max(0, Math.ceil((last - this.#position) / this.#step));
    const output = new Float32Array(count);
    for (let i = 0; i < count; i++) {
      output[i] = this.#at(this.#position);
      this.#position += this.#step;
    }
    this.#forget();
    return output;
  }

  #append(input: Float32Array): void {
    if (this.#filled + input.length > this.#history.length) {
      const larger = new Float32Array(2 * (this.#filled + input.length));
      larger.set(this.#history.subarray(0, this.#filled));
      this.#history = larger;
    }
    this.#history.set(input, this.#filled);
    this.#filled += input.length;
  }

  #forget(): void {
    const gone = Math.floor(this.#position) - this.#half;
    if (gone <= 0) return;
    this.#history.copyWithin(0, gone, this.#filled);
    this.#filled -= gone;
    this.#position -= gone;
  }

  #at(position: number): number {
    const history = this.#history;
    const table = this.#table;
    const first = Math.floor(position) - this.#half + 1;
    const end = first + 2 * this.#half;
    let sum = 0;
    for (let i = first; i < end; i++) {
      const distance = Math.abs(position - i) * PHASES;
      const at = Math.floor(distance);
      const below = table[at] ?? 0;
      const weight = below + ((table[at + 1] ?? 0) - below) * (distance - at);
      sum += (history[i] ?? 0) * weight;
    }
    return sum;
  }
}

/** The right half of the filter, `PHASES` values for each input sample. */
function kernel(half: number, cutoff: number): Float32Array {
  const table = new Float32Array(half * PHASES + 2);
  for (let i = 0; i < table.length; i++) {
    const x = i / PHASES;
    if (x >= half) break;
    const angle = Math.PI * x * cutoff;
    const sinc = x === 0 ? 1 : Math.sin(angle) / angle;
    table[i] = cutoff * sinc * (besselI0(BETA * Math.sqrt(1 - (x / half) ** 2)) / besselI0(BETA));
  }
  return table;
}

/** The modified Bessel function of order zero, by its power series. */
function besselI0(x: number): number {
  let term = 1;
  let sum = 1;
  for (let k = 1; term > 1e-9 * sum; k++) {
    term *= (x / (2 * k)) ** 2;
    sum += term;
  }
  return sum;
}
