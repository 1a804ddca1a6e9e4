/** What a failed call says, whichever way it came: a trailer, a notice, or no answer at all. */

import { fromBinary } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import { type Status, StatusSchema } from "@parley/stubs/google/rpc/status_pb";

import { type FieldViolation, readErrorInfo, readRetryDelayMs, readViolations } from "./details";

/** A `google.rpc.Status` with its details taken out. */
export interface Refusal {
  readonly code: Code;
  /** The server's sentence; for the log and for what has no sentence of ours. */
  readonly message: string;
  /** UPPER_SNAKE from ErrorInfo; empty where there is none, which means: it broke on the way. */
  readonly reason: string;
  /** From RetryInfo; null where waiting is not promised to help. */
  readonly retryAfterMs: number | null;
  readonly violations: readonly FieldViolation[];
  readonly metadata: Readonly<Record<string, string>>;
}

interface Detail {
  readonly type: string;
  readonly value: Uint8Array;
}

function refusalOf(code: Code, message: string, details: readonly Detail[]): Refusal {
  let reason = "";
  let retryAfterMs: number | null = null;
  let violations: FieldViolation[] = [];
  let metadata: Readonly<Record<string, string>> = {};
  for (const { type, value } of details) {
    try {
      if (type === "google.rpc.ErrorInfo") ({ reason, metadata } = readErrorInfo(value));
      else if (type === "google.rpc.RetryInfo") retryAfterMs = readRetryDelayMs(value);
      else if (type === "google.rpc.BadRequest") violations = readViolations(value);
    } catch {
      // A detail that cannot be read says nothing; the code still does.
    }
  }
  return { code, message, reason, retryAfterMs, violations, metadata };
}

/** Reads a Status as it stands in a notice. */
export function refusalFromStatus(status: Status | undefined): Refusal {
  if (!status) return refusalOf(Code.Unknown, "", []);
  const details = status.details.map((each) => ({
    type: each.typeUrl.slice(each.typeUrl.lastIndexOf("/") + 1),
    value: each.value,
  }));
  return refusalOf(codeOf(status.code), status.message, details);
}

/** Reads the bytes of a Status, as `grpc-status-details-bin` carries them. */
export function refusalFromStatusBytes(bytes: Uint8Array): Refusal {
  return refusalFromStatus(fromBinary(StatusSchema, bytes));
}

/** Reads whatever a call threw. */
export function refusalFromError(error: unknown): Refusal {
  if (error instanceof RefusedError) return error.refusal;
  if (error instanceof ConnectError) {
    const details = error.details.flatMap((each) =>
      "value" in each && each.value instanceof Uint8Array
        ? [{ type: (each as Detail).type, value: each.value }]
        : [],
    );
    return refusalOf(error.code, error.rawMessage, details);
  }
  if (error instanceof DOMException && error.name === "AbortError") {
    return refusalOf(Code.Canceled, "cancelled", []);
  }
  // fetch throws TypeError for every failure on the way.
  if (error instanceof TypeError) return refusalOf(Code.Unavailable, error.message, []);
  return refusalOf(Code.Unknown, error instanceof Error ? error.message : String(error), []);
}

/** A refusal that came otherwise than as a ConnectError: in a notice, a close frame, a trailer. */
export class RefusedError extends Error {
  override readonly name = "RefusedError";

  constructor(readonly refusal: Refusal) {
    super(refusal.message || refusal.reason);
  }
}

/** A refusal of our own making, where no server spoke. */
export function refusal(code: Code, message: string, reason = ""): Refusal {
  return { ...refusalOf(code, message, []), reason };
}

const BROKEN_WAY: readonly Code[] = [Code.Unavailable, Code.Internal, Code.Unknown, Code.Canceled];

/** Whether the way there broke, rather than the server having refused: only refusals have reasons. */
export function connectionLost({ reason, code }: Refusal): boolean {
  return reason === "" && BROKEN_WAY.includes(code);
}

/** Whether the same call may succeed later without being changed. */
export function retryable(refusal: Refusal): boolean {
  return (
    refusal.retryAfterMs !== null ||
    refusal.code === Code.Unavailable ||
    refusal.metadata.retryable === "true"
  );
}

/** The code that a number stands for. */
export function codeOf(number: number): Code {
  // eslint-disable-next-line @typescript-eslint/no-unsafe-enum-assignment -- just looked up
  return number in Code ? number : Code.Unknown;
}
