import { type MessageInitShape, create } from "@bufbuild/protobuf";
import { ConverseRequestSchema } from "@parley/stubs/parley/conversation/v1/conversation_pb";
import { expect, test } from "vitest";

import { Backlog } from "./backlog";

function message(seq: number, value: MessageInitShape<typeof ConverseRequestSchema>["message"]) {
  return create(ConverseRequestSchema, { seq: BigInt(seq), ...(value && { message: value }) });
}

function audio(seq: number, firstSample: number, samples = 160) {
  const pcm = new Uint8Array(samples * 2);
  return message(seq, { case: "audio", value: { pcm, firstSample: BigInt(firstSample) } });
}

test("keeps sound and acts in their order, and no reports or pings", () => {
  const backlog = new Backlog(16_000);
  backlog.add(audio(1, 0));
  backlog.add(message(2, { case: "ping", value: { nonce: 1n } }));
  backlog.add(message(3, { case: "text", value: { text: "Hi" } }));
  backlog.add(message(4, { case: "heard", value: { generation: 1n, audioMs: 5 } }));
  backlog.add(audio(5, 160));
  expect(backlog.firstSeq).toBe(1n);
  expect(backlog.again(0).map((each) => Number(each.seq))).toEqual([1, 3, 5]);
});

test("sound that has arrived is not sent again; a frame that arrived in part is", () => {
  const backlog = new Backlog(16_000);
  for (let i = 0; i < 4; i++) backlog.add(audio(i + 1, i * 160));
  expect(backlog.again(200).map((each) => Number(each.seq))).toEqual([2, 3, 4]);
  expect(backlog.again(640)).toEqual([]);
  expect(backlog.firstSeq).toBe(0n);
});

test("keeps 36 seconds of sound and lets the oldest go", () => {
  const backlog = new Backlog(100);
  for (let i = 0; i < 50; i++) backlog.add(audio(i + 1, i * 100, 100));
  const kept = backlog.again(0).map((each) => Number(each.seq));
  expect([kept.length, kept[0]]).toEqual([36, 15]);
});
