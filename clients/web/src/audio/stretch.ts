/**
 * Makes speech slower without making it deeper: overlapping grains, each taken where it fits best.
 *
 * WSOLA (Verhelst and Roelands, 1993), over the whole of a short recording. Pure.
 */

// A grain holds two or three periods of a low voice; the search covers one.
const GRAIN_MS = 30;
const SEARCH_MS = 8;
// Every fourth sample is enough to find the best fit, and four times as fast.
const STRIDE = 4;

/** Returns `samples` at `rate` times the speed (0.5 is half), at the same pitch. */
export function stretch(
  samples: Int16Array,
  rateHz: number,
  rate: number,
): Int16Array<ArrayBuffer> {
  if (rate === 1) return samples.slice();
  const grain = Math.round((GRAIN_MS * rateHz) / 1000) & ~1;
  const hop = grain / 2;
  const search = Math.round((SEARCH_MS * rateHz) / 1000);
  const count = Math.floor((samples.length - grain) / (hop * rate));
  if (count < 2) return samples.slice();
  const output = new Float32Array((count + 1) * hop + hop);
  const window = hann(grain);
  let from = 0;
  for (let i = 0; i < count; i++) {
    add(output, i * hop, samples, from, window);
    // What would follow naturally is compared with what lies near the place that time asks for.
    const natural = from + hop;
    const wanted = Math.round((i + 1) * hop * rate);
    from = bestFit(samples, natural, wanted, search, grain);
  }
  return Int16Array.from(output, (value) => Math.max(-32768, Math.min(32767, Math.round(value))));
}

function bestFit(
  samples: Int16Array,
  natural: number,
  wanted: number,
  search: number,
  grain: number,
): number {
  let best = wanted;
  let bestScore = -Infinity;
  const last = samples.length - grain;
  for (let at = Math.max(0, wanted - search); at <= Math.min(last, wanted + search); at += 2) {
    let dot = 0;
    let power = 1;
    for (let i = 0; i < grain; i += STRIDE) {
      const other = samples[at + i] ?? 0;
      dot += (samples[natural + i] ?? 0) * other;
      power += other * other;
    }
    const score = dot / Math.sqrt(power);
    if (score > bestScore) {
      bestScore = score;
      best = at;
    }
  }
  return Math.max(0, Math.min(best, last));
}

function add(
  output: Float32Array,
  at: number,
  samples: Int16Array,
  from: number,
  window: Float32Array,
): void {
  for (let i = 0; i < window.length; i++) {
    output[at + i] = (output[at + i] ?? 0) + (samples[from + i] ?? 0) * (window[i] ?? 0);
  }
}

function hann(length: number): Float32Array {
  return Float32Array.from({ length }, (_, i) => 0.5 - 0.5 * Math.cos((2 * Math.PI * i) / length));
}
