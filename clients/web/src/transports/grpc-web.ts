/** The little of the grpc-web wire format that a streamed upload needs. */

import { Code } from "@connectrpc/connect";

import { type Refusal, codeOf, refusal, refusalFromStatusBytes } from "@/rpc/refusal";

const TRAILERS = 0x80;
const PREFIX_BYTES = 5;

/** Puts a message into its envelope: a zero, four bytes of length, the message. */
export function envelope(message: Uint8Array): Uint8Array<ArrayBuffer> {
  const framed = new Uint8Array(PREFIX_BYTES + message.length);
  new DataView(framed.buffer).setUint32(1, message.length);
  framed.set(message, PREFIX_BYTES);
  return framed;
}

/**
 * Reads how a call ended, from its headers (a refusal before any message) or the body's last frame.
 *
 * Returns null where it ended well.
 */
export function readTrailers(headers: Headers, body: Uint8Array): Refusal | null {
  if (headers.has("grpc-status")) return refusalOf(headers);
  for (let at = 0; at + PREFIX_BYTES <= body.length;) {
    const length = new DataView(body.buffer, body.byteOffset + at + 1, 4).getUint32(0);
    const end = at + PREFIX_BYTES + length;
    if (((body[at] ?? 0) & TRAILERS) !== 0) {
      return refusalOf(parse(body.subarray(at + PREFIX_BYTES, end)));
    }
    at = end;
  }
  return refusal(Code.Unavailable, "the answer has no end");
}

function parse(bytes: Uint8Array): Headers {
  const headers = new Headers();
  for (const line of new TextDecoder().decode(bytes).split("\r\n")) {
    const colon = line.indexOf(":");
    if (colon > 0) headers.append(line.slice(0, colon).trim(), line.slice(colon + 1).trim());
  }
  return headers;
}

function refusalOf(trailers: Headers): Refusal | null {
  const number = Number(trailers.get("grpc-status"));
  if (number === 0) return null;
  const details = trailers.get("grpc-status-details-bin");
  if (details) {
    try {
      return refusalFromStatusBytes(Uint8Array.from(atob(padded(details)), (c) => c.charCodeAt(0)));
    } catch {
      // Without its details it is told by its code.
    }
  }
  return refusal(codeOf(number), decodeMessage(trailers.get("grpc-message") ?? ""));
}

function decodeMessage(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** gRPC leaves base64's padding out. */
function padded(text: string): string {
  const standard = text.replaceAll("-", "+").replaceAll("_", "/").replace(/=+$/, "");
  return standard + "=".repeat((4 - (standard.length % 4)) % 4);
}
