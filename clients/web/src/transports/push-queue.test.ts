import { create } from "@bufbuild/protobuf";
import { ConverseRequestSchema } from "@parley/stubs/parley/conversation/v1/conversation_pb";
import { describe, expect, test } from "vitest";

import { MOST_IN_A_BATCH, PushQueue } from "./push-queue";

const NEW = { seq: 0n, firstSeq: 0n };

function message(seq: number) {
  return create(ConverseRequestSchema, {
    seq: BigInt(seq),
    message: { case: "ping", value: { nonce: 9n } },
  });
}

function numbers(batch: ReturnType<PushQueue["next"]>): number[] {
  return (batch?.requests ?? []).map((each) => Number(each.seq));
}

describe("PushQueue", () => {
  test("what comes while all batches are under way travels together in the next", () => {
    const queue = new PushQueue(1, NEW);
    queue.add(message(1));
    const first = queue.next();
    expect(numbers(first)).toEqual([1]);
    queue.add(message(2));
    queue.add(message(3));
    expect(queue.next()).toBeNull();
    if (first) queue.answered(first, 1n);
    expect(numbers(queue.next())).toEqual([2, 3]);
  });

  test("a batch is never larger than the contract allows", () => {
    const queue = new PushQueue(4, NEW);
    for (let seq = 1; seq <= 120; seq++) queue.add(message(seq));
    expect(numbers(queue.next())).toHaveLength(MOST_IN_A_BATCH);
  });

  test("a batch without an answer goes again before anything newer", () => {
    const queue = new PushQueue(2, NEW);
    queue.add(message(1));
    const first = queue.next();
    queue.add(message(2));
    if (first) queue.failed(first);
    expect(queue.next()).toBe(first);
    expect(numbers(queue.next())).toEqual([2]);
  });

  test("nothing goes farther ahead than the server keeps", () => {
    const queue = new PushQueue(100, NEW);
    for (let seq = 1; seq <= 400; seq++) queue.add(message(seq));
    const sent = [];
    for (let batch = queue.next(); batch; batch = queue.next()) sent.push(batch);
    expect(sent.flatMap(numbers).at(-1)).toBe(250);
    // Only what was missing first makes room.
    const [first, second] = sent;
    if (second) queue.answered(second, 0n);
    expect(queue.next()).toBeNull();
    if (first) queue.answered(first, 100n);
    expect(numbers(queue.next()).at(-1)).toBe(300);
  });

  test("numbers that are not sent again are filled, and the start's own is left out", () => {
    const queue = new PushQueue(8, { seq: 14n, firstSeq: 10n });
    queue.add(message(11));
    queue.add(message(16));
    const batch = queue.next();
    expect(numbers(batch)).toEqual([10, 11, 12, 13, 15, 16]);
    expect(batch?.requests.map((each) => each.message.case)).toEqual([
      "settings",
      "ping",
      "settings",
      "settings",
      "settings",
      "ping",
    ]);
  });

  test("after a new connection that sends nothing again the count goes on behind the start", () => {
    const queue = new PushQueue(8, { seq: 14n, firstSeq: 0n });
    queue.add(message(15));
    expect(numbers(queue.next())).toEqual([15]);
  });

  test("everything is counted until it is answered", () => {
    const queue = new PushQueue(1, NEW);
    queue.add(message(1));
    queue.add(message(2));
    const batch = queue.next();
    queue.add(message(3));
    expect(queue.queued).toBe(3);
    if (batch) queue.answered(batch, 2n);
    expect(queue.queued).toBe(1);
  });
});
