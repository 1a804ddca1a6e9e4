/** The shape of a recording as bars. Pure. */

/**
 * Draws peaks (0 to 255) as `bars` bars in a box of `bars` by 2, mirrored about its middle.
 *
 * Each bar is the loudest of its share, so that a short word is not averaged away. A recording
 * without peaks is a thin line.
 */
export function waveformPath(peaks: Uint8Array, bars: number): string {
  let path = "";
  for (let i = 0; i < bars; i++) {
    const from = Math.floor((i * peaks.length) / bars);
    const to = Math.max(from + 1, Math.floor(((i + 1) * peaks.length) / bars));
    let peak = 0;
    for (let at = from; at < to; at++) peak = Math.max(peak, peaks[at] ?? 0);
    // A loudness that is half as large looks half as high only by its root; the ear agrees.
    const height = Math.max(0.06, Math.sqrt(peak / 255));
    const rounded = Math.round(height * 1000) / 1000;
    path += `M${i + 0.5} ${Math.round((1 - rounded) * 1000) / 1000}v${rounded * 2}`;
  }
  return path;
}
