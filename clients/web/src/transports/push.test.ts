import { create } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import {
  ConverseRequestSchema,
  type ConverseResponse,
  ConverseResponseSchema,
  StartSessionSchema,
} from "@parley/stubs/parley/conversation/v1/conversation_pb";
import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { type Refusal, RefusedError, connectionLost, refusal } from "@/rpc/refusal";

import { Push } from "./push";

const calls = vi.hoisted(() => ({ subscribe: vi.fn(), push: vi.fn() }));
vi.mock("@/rpc/clients", () => ({ conversations: calls }));
vi.mock("./choose", async (original) => ({
  ...(await original<object>()),
  pageProtocol: () => "h2",
}));

const STOPPING = refusal(Code.Unavailable, "The service stops.", "SERVICE_STOPPING");

let say: (response: Partial<ConverseResponse>["message"]) => void;
let breakOff: (error: unknown) => void;
let heard: string[];
let ends: (Refusal | null)[];

async function settled(): Promise<void> {
  await vi.advanceTimersByTimeAsync(0);
}

/** Opens a link whose subscription says what the test lets it say. */
async function open() {
  const said: (() => { value: unknown; done: boolean })[] = [];
  let wake: () => void = () => undefined;
  say = (message) => {
    const response = create(ConverseResponseSchema, { ...(message && { message }) });
    said.push(() => ({ value: { response }, done: false }));
    wake();
  };
  breakOff = (error) => {
    said.push(() => {
      throw error;
    });
    wake();
  };
  calls.subscribe.mockReturnValue({
    [Symbol.asyncIterator]: () => ({
      next: async () => {
        while (said.length === 0) await new Promise<void>((resolve) => (wake = resolve));
        return said.shift()?.();
      },
    }),
  });
  const link = new Push().open(
    create(StartSessionSchema),
    { seq: 0n, firstSeq: 0n },
    {
      onResponse: ({ message }) => heard.push(message.case ?? ""),
      onEnd: (refused) => ends.push(refused),
    },
  );
  say({ case: "started", value: { conversationId: "c" } as never });
  await settled();
  return link;
}

function ping(seq: bigint) {
  return create(ConverseRequestSchema, { seq, message: { case: "ping", value: { nonce: seq } } });
}

beforeEach(() => {
  vi.useFakeTimers();
  heard = [];
  ends = [];
  calls.push.mockReset();
});

afterEach(() => {
  vi.useRealTimers();
});

test("a process that stops takes no batch, and its last responses still arrive", async () => {
  // Its refusal of a batch ended the link before the end of the last turn had come.
  const link = await open();
  calls.push.mockRejectedValue(new RefusedError(STOPPING));
  link.send(ping(1n));
  await settled();
  link.send(ping(2n));
  await settled();
  say({ case: "turnSaved", value: { number: 2 } as never });
  await settled();
  breakOff(new RefusedError(STOPPING));
  await settled();
  expect(heard).toEqual(["started", "turnSaved"]);
  expect(ends).toEqual([STOPPING]);
  expect(calls.push).toHaveBeenCalledTimes(1);
});

test("a talk that has ended is over when it says so, not when it refuses the next sound", async () => {
  const link = await open();
  calls.push.mockRejectedValue(
    new RefusedError(refusal(Code.NotFound, "There is none.", "NO_LIVE_SESSION")),
  );
  link.send(ping(1n));
  await settled();
  say({ case: "ended", value: {} as never });
  await settled();
  link.close();
  await vi.advanceTimersByTimeAsync(60_000);
  expect(heard).toEqual(["started", "ended"]);
  expect(ends).toEqual([]);
});

test("a subscription that never ends is not waited for", async () => {
  const link = await open();
  calls.push.mockRejectedValue(new RefusedError(STOPPING));
  link.send(ping(1n));
  await vi.advanceTimersByTimeAsync(60_000);
  expect(ends).toEqual([STOPPING]);
});

test("any other refusal ends the link at once", async () => {
  const link = await open();
  const wrong = refusal(Code.InvalidArgument, "A gap.", "SEQUENCE_GAP");
  calls.push.mockRejectedValue(new RefusedError(wrong));
  link.send(ping(1n));
  await settled();
  expect(ends).toEqual([wrong]);
});

const LATE = [
  new ConnectError("the operation timed out", Code.DeadlineExceeded),
  new RefusedError(refusal(Code.DeadlineExceeded, "It ran out of time.", "DEADLINE_EXCEEDED")),
];

test.each(LATE)("a batch that got no answer in time goes again: $name", async (late) => {
  const link = await open();
  calls.push.mockRejectedValueOnce(late).mockResolvedValue({ lastSeq: 1n });
  link.send(ping(1n));
  await vi.advanceTimersByTimeAsync(1_000);
  expect(calls.push).toHaveBeenCalledTimes(2);
  expect([ends, link.queued]).toEqual([[], 0]);
});

test.each(LATE)(
  "a server that answers no batch in time is a lost connection: $name",
  async (late) => {
    // It ended the talk for good: only what has no reason and may come back is connected again.
    const link = await open();
    calls.push.mockRejectedValue(late);
    link.send(ping(1n));
    await vi.advanceTimersByTimeAsync(1_000);
    expect(calls.push).toHaveBeenCalledTimes(3);
    expect(ends.map((why) => why && [why.reason, connectionLost(why)])).toEqual([["", true]]);
  },
);
