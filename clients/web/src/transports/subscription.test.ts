import { create } from "@bufbuild/protobuf";
import {
  type ConverseResponse,
  ConverseResponseSchema,
  StartSessionSchema,
} from "@parley/stubs/parley/conversation/v1/conversation_pb";
import { expect, test, vi } from "vitest";

import { type Place } from "./link";
import { AFFINITY_HEADER, subscribe } from "./subscription";

const calls = vi.hoisted(() => ({ subscribe: vi.fn() }));
vi.mock("@/rpc/clients", () => ({ conversations: calls }));

function started(resumed: boolean): { response: ConverseResponse } {
  const value = { conversationId: "c", resumed };
  return { response: create(ConverseResponseSchema, { message: { case: "started", value } }) };
}

test("a session that is told again from its beginning has one place, told first", async () => {
  calls.subscribe.mockImplementation(
    (_request: unknown, { onHeader }: { onHeader: (headers: Headers) => void }) => {
      onHeader(new Headers({ [AFFINITY_HEADER]: "here" }));
      return [started(true), started(false)];
    },
  );
  const told: (Place | boolean)[] = [];
  await new Promise<void>((resolve) => {
    subscribe(create(StartSessionSchema), { seq: 0n, firstSeq: 0n }, AbortSignal.any([]), {
      place: (place) => told.push(place),
      response: ({ message }) => {
        if (message.case === "started") told.push(message.value.resumed);
      },
      end: () => resolve(),
    });
  });
  expect(told).toEqual([{ conversationId: "c", affinity: "here" }, true, false]);
});
