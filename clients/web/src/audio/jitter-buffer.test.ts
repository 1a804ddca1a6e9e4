import { describe, expect, test } from "vitest";

import { JitterBuffer } from "./jitter-buffer";

const RATE = 1000; // one sample a millisecond: positions read as sample counts

function samples(count: number, value = 1000): Int16Array {
  return new Int16Array(count).fill(value);
}

/** Takes `count` samples; says how many of them were sound. */
function take(buffer: JitterBuffer, count: number): number {
  const out = new Float32Array(count);
  const sounding = buffer.take(out);
  expect(out.slice(sounding).every((each) => each === 0)).toBe(true);
  return sounding;
}

function playing(ms = 200): JitterBuffer {
  const buffer = new JitterBuffer(RATE);
  buffer.begin(1);
  buffer.push(1, 0, samples(ms));
  return buffer;
}

describe("JitterBuffer", () => {
  test("waits until it has enough to begin with", () => {
    const buffer = playing(39);
    expect(take(buffer, 10)).toBe(0);
    buffer.push(1, 39, samples(1));
    expect(take(buffer, 10)).toBe(10);
  });

  test("plays a reply shorter than that once it is known to be complete", () => {
    const buffer = playing(5);
    buffer.complete(1);
    expect(take(buffer, 10)).toBe(5);
  });

  test("stop empties it at once, and what comes late of the same reply stays silent", () => {
    const buffer = playing();
    expect(take(buffer, 50)).toBe(50);
    buffer.stop(1);
    expect(take(buffer, 50)).toBe(0);
    buffer.push(1, 200, samples(100));
    expect(take(buffer, 50)).toBe(0);
    expect(buffer.position()).toMatchObject({ heardMs: 50, drained: true, queuedMs: 0 });
  });

  test("a newer reply silences the older one, whose late sound is dropped", () => {
    const buffer = playing();
    buffer.begin(2);
    expect(take(buffer, 10)).toBe(0);
    buffer.push(1, 200, samples(100));
    expect(buffer.position()).toMatchObject({ generation: 2, queuedMs: 0 });
  });

  test("hold keeps what is queued and goes on from there", () => {
    const buffer = playing();
    take(buffer, 30);
    buffer.hold();
    expect(take(buffer, 100)).toBe(0);
    expect(buffer.position()).toMatchObject({ heardMs: 30, settled: true });
    buffer.goOn();
    expect(take(buffer, 20)).toBe(20);
    expect(buffer.position().heardMs).toBe(50);
  });

  test("repeated sound is skipped and a gap becomes silence of its length", () => {
    const buffer = playing(50);
    buffer.push(1, 20, samples(60));
    expect(buffer.position().queuedMs).toBe(80);
    buffer.push(1, 100, samples(10));
    expect(buffer.position().queuedMs).toBe(110);
  });

  test("what was taken counts as heard when it has reached the air", () => {
    const buffer = new JitterBuffer(RATE, { latencyMs: 30 });
    buffer.push(1, 0, samples(50));
    take(buffer, 50);
    expect(buffer.position()).toMatchObject({ heardMs: 20, givenMs: 50, settled: false });
    take(buffer, 30);
    expect(buffer.position()).toMatchObject({ heardMs: 50, settled: true });
  });

  test("running dry counts as an underrun only when more comes", () => {
    const buffer = playing(50);
    take(buffer, 60);
    expect(buffer.position().underruns).toBe(0);
    buffer.push(1, 50, samples(50));
    expect(buffer.position().underruns).toBe(1);
    take(buffer, 60);
    buffer.complete(1);
    expect(buffer.position()).toMatchObject({ underruns: 1, drained: true });
  });

  test("beyond its capacity samples are refused and counted", () => {
    const buffer = new JitterBuffer(RATE, { capacityMs: 100 });
    buffer.push(1, 0, samples(150));
    expect(buffer.position()).toMatchObject({ queuedMs: 100, refused: 50 });
  });

  test("whatever is done in whatever order, heard only grows and old sound never comes", () => {
    let seed = 7;
    const random = (below: number) => {
      seed = (seed * 1103515245 + 12345) % 2147483648;
      return seed % below;
    };
    for (let round = 0; round < 300; round++) {
      const buffer = new JitterBuffer(RATE, { latencyMs: random(40) });
      const offsets = new Map<number, number>();
      let newest = 0;
      let stopped = 0;
      let heard = { generation: 0, ms: 0 };
      for (let step = 0; step < 60; step++) {
        const generation = 1 + random(4);
        const what = random(8);
        if (what <= 2) {
          const offset = offsets.get(generation) ?? 0;
          buffer.push(generation, offset, samples(20 + random(60), generation));
          offsets.set(generation, offset + 40);
          newest = Math.max(newest, generation);
        } else if (what === 3) {
          buffer.stop(generation);
          if (generation >= newest) stopped = generation;
          newest = Math.max(newest, generation);
        } else if (what === 4) buffer.hold();
        else if (what === 5) buffer.goOn();
        else {
          const out = new Float32Array(1 + random(50));
          const sounding = buffer.take(out);
          if (sounding > 0) expect(stopped).toBeLessThan(newest);
          const values = new Set([...out].map((each) => Math.round(each * 32768)));
          values.delete(0);
          for (const value of values) expect(value).toBe(newest);
        }
        const position = buffer.position();
        expect(position.heardMs).toBeLessThanOrEqual(position.givenMs);
        if (position.generation === heard.generation) {
          expect(position.heardMs).toBeGreaterThanOrEqual(heard.ms);
        }
        heard = { generation: position.generation, ms: position.heardMs };
      }
    }
  });
});
