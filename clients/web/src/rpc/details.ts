/**
 * The parts of `google.rpc` that travel inside an error, read from their bytes.
 *
 * Three small messages do not earn the weight of their generated descriptors.
 */

import { BinaryReader, WireType } from "@bufbuild/protobuf/wire";

/** `google.rpc.ErrorInfo`: why, as a stable word, and facts beside it. */
export interface ErrorInfo {
  readonly reason: string;
  readonly domain: string;
  readonly metadata: Readonly<Record<string, string>>;
}

/** One entry of `google.rpc.BadRequest`. */
export interface FieldViolation {
  readonly field: string;
  readonly description: string;
}

type Field = (no: number, wire: WireType, reader: BinaryReader) => void;

function read(bytes: Uint8Array, onField: Field): void {
  const reader = new BinaryReader(bytes);
  while (reader.pos < reader.len) {
    const [no, wire] = reader.tag();
    const before = reader.pos;
    onField(no, wire, reader);
    // A field that nobody took.
    if (reader.pos === before) reader.skip(wire, no);
  }
}

/** Reads an ErrorInfo. Throws where the bytes are not protobuf. */
export function readErrorInfo(bytes: Uint8Array): ErrorInfo {
  let reason = "";
  let domain = "";
  const metadata: Record<string, string> = {};
  read(bytes, (no, _wire, reader) => {
    if (no === 1) reason = reader.string();
    else if (no === 2) domain = reader.string();
    else if (no === 3) {
      let key = "";
      let value = "";
      read(reader.bytes(), (part, _partWire, entry) => {
        if (part === 1) key = entry.string();
        else if (part === 2) value = entry.string();
      });
      metadata[key] = value;
    }
  });
  return { reason, domain, metadata };
}

/** Reads a RetryInfo: how long to wait, in milliseconds. Throws where it is not protobuf. */
export function readRetryDelayMs(bytes: Uint8Array): number {
  let delayMs = 0;
  read(bytes, (no, _wire, reader) => {
    if (no !== 1) return;
    read(reader.bytes(), (part, _partWire, duration) => {
      if (part === 1) delayMs += Number(duration.int64()) * 1000;
      else if (part === 2) delayMs += duration.int32() / 1e6;
    });
  });
  return delayMs;
}

/** Reads a BadRequest. Throws where the bytes are not protobuf. */
export function readViolations(bytes: Uint8Array): FieldViolation[] {
  const violations: FieldViolation[] = [];
  read(bytes, (no, _wire, reader) => {
    if (no !== 1) return;
    let field = "";
    let description = "";
    read(reader.bytes(), (part, _partWire, violation) => {
      if (part === 1) field = violation.string();
      else if (part === 2) description = violation.string();
    });
    violations.push({ field, description });
  });
  return violations;
}
