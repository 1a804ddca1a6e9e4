import { create } from "@bufbuild/protobuf";
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { Code, ConnectError } from "@connectrpc/connect";
import { StatusSchema } from "@parley/stubs/google/rpc/status_pb";
import { expect, test } from "vitest";

import { connectionLost, refusal, refusalFromError, refusalFromStatus, retryable } from "./refusal";

function errorInfo(reason: string, metadata: Record<string, string> = {}): Uint8Array {
  const writer = new BinaryWriter();
  writer.tag(1, WireType.LengthDelimited).string(reason);
  writer.tag(2, WireType.LengthDelimited).string("parley");
  for (const [key, value] of Object.entries(metadata)) {
    writer.tag(3, WireType.LengthDelimited).fork();
    writer.tag(1, WireType.LengthDelimited).string(key);
    writer.tag(2, WireType.LengthDelimited).string(value);
    writer.join();
  }
  // A field of a later version.
  writer.tag(9, WireType.Varint).uint32(1);
  return writer.finish();
}

function retryInfo(seconds: number, nanos: number): Uint8Array {
  const writer = new BinaryWriter().tag(1, WireType.LengthDelimited).fork();
  writer.tag(1, WireType.Varint).int64(seconds);
  writer.tag(2, WireType.Varint).int32(nanos);
  return writer.join().finish();
}

function badRequest(field: string, description: string): Uint8Array {
  const writer = new BinaryWriter().tag(1, WireType.LengthDelimited).fork();
  writer.tag(1, WireType.LengthDelimited).string(field);
  writer.tag(2, WireType.LengthDelimited).string(description);
  return writer.join().finish();
}

test("reason, facts, waiting time and fields are read from a status", () => {
  const read = refusalFromStatus(
    create(StatusSchema, {
      code: Code.ResourceExhausted,
      message: "full",
      details: [
        {
          typeUrl: "type.googleapis.com/google.rpc.ErrorInfo",
          value: errorInfo("AT_CAPACITY", { retryable: "true", request_id: "r1" }),
        },
        { typeUrl: "type.googleapis.com/google.rpc.RetryInfo", value: retryInfo(2, 500_000_000) },
        { typeUrl: "type.googleapis.com/google.rpc.BadRequest", value: badRequest("a.b", "no") },
      ],
    }),
  );
  expect(read).toEqual({
    code: Code.ResourceExhausted,
    message: "full",
    reason: "AT_CAPACITY",
    retryAfterMs: 2500,
    violations: [{ field: "a.b", description: "no" }],
    metadata: { retryable: "true", request_id: "r1" },
  });
  expect(retryable(read)).toBe(true);
  expect(connectionLost(read)).toBe(false);
});

test("details that are no protobuf leave the code and the sentence", () => {
  const read = refusalFromStatus(
    create(StatusSchema, {
      code: Code.Internal,
      message: "oh",
      details: [{ typeUrl: "x/google.rpc.ErrorInfo", value: Uint8Array.of(255, 255) }],
    }),
  );
  expect(read).toMatchObject({ code: Code.Internal, message: "oh", reason: "" });
});

test("a call that failed on the way is told from one that was refused", () => {
  expect(connectionLost(refusalFromError(new TypeError("Failed to fetch")))).toBe(true);
  expect(connectionLost(refusalFromError(new ConnectError("reset", Code.Internal)))).toBe(true);
  expect(connectionLost(refusal(Code.Internal, "a bug", "INTERNAL"))).toBe(false);
  expect(connectionLost(refusalFromError(new ConnectError("no", Code.NotFound)))).toBe(false);
});
