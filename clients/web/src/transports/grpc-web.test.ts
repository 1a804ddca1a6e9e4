import { Code } from "@connectrpc/connect";
import { expect, test } from "vitest";

import { envelope, readTrailers } from "./grpc-web";

function trailers(text: string): Uint8Array {
  const framed = envelope(new TextEncoder().encode(text));
  framed[0] = 0x80;
  return framed;
}

test("an envelope is a zero, four bytes of length and the message", () => {
  expect([...envelope(Uint8Array.of(7, 8, 9))]).toEqual([0, 0, 0, 0, 3, 7, 8, 9]);
});

test("a call that ended well is no refusal, also behind a message", () => {
  const body = new Uint8Array([
    ...envelope(Uint8Array.of(8, 1)),
    ...trailers("grpc-status: 0\r\n"),
  ]);
  expect(readTrailers(new Headers(), body)).toBeNull();
});

test("a refusal is read from the last frame", () => {
  const refused = readTrailers(
    new Headers(),
    trailers("grpc-status:5\r\ngrpc-message:not%20there\r\n"),
  );
  expect(refused).toMatchObject({ code: Code.NotFound, message: "not there", reason: "" });
});

test("a refusal before anything was sent is read from the headers", () => {
  const refused = readTrailers(new Headers({ "grpc-status": "16" }), new Uint8Array());
  expect(refused?.code).toBe(Code.Unauthenticated);
});

test("the details of a refusal are read", () => {
  // Status{code: 5, message: "gone"} in base64 without padding
  const details = btoa(
    String.fromCharCode(8, 5, 18, 4, ...new TextEncoder().encode("gone")),
  ).replace(/=+$/, "");
  const headers = new Headers({ "grpc-status": "5", "grpc-status-details-bin": details });
  expect(readTrailers(headers, new Uint8Array())).toMatchObject({
    code: Code.NotFound,
    message: "gone",
  });
});

test("an answer that stops in the middle is a broken way", () => {
  expect(readTrailers(new Headers(), envelope(Uint8Array.of(1)))).toMatchObject({
    code: Code.Unavailable,
  });
});
