/** What the diagnostics panel shows: read when it is drawn, never pushed. */

import type { Position } from "@/audio/jitter-buffer";
import type { TransportName } from "@/transports/link";

/** A look at a talk from inside. */
export interface Diagnostics {
  readonly transport: TransportName;
  readonly why: string;
  readonly protocol: string;
  readonly roundTripMs: number | null;
  /** Messages that have not left yet. */
  readonly queued: number;
  readonly position: Position | null;
  readonly contextRateHz: number | null;
  readonly captureRateHz: number;
  readonly playbackRateHz: number | null;
  readonly outputLatencyMs: number | null;
  readonly microphone: string;
  readonly reconnections: number;
  readonly conversationId: string;
  readonly engine: string;
  readonly voice: string;
}
