/** How this learner likes to talk, for talk and settings. Kept in this browser; nothing secret. */

import { useSyncExternalStore } from "react";

import { keep, keptJson } from "@/device/kept";
import type { TransportName } from "@/transports/link";

/** The wishes. */
export interface TalkPreferences {
  readonly scenarioId: string;
  /** Empty: the server's choice. */
  readonly engine: string;
  /** Empty: the learner's or the engine's choice. */
  readonly voice: string;
  /** 1 is the voice's own speed. */
  readonly speechRate: number;
  readonly pushToTalk: boolean;
  readonly captionsOnly: boolean;
  readonly tutorOpens: boolean;
  readonly noRecording: boolean;
  /** Empty: the system's default. */
  readonly microphoneId: string;
  /** Headphones: no echo to cancel, so the voice is sent as it is. */
  readonly rawMicrophone: boolean;
  readonly transport: TransportName | "auto";
}

/** What a first visit has. */
export const DEFAULT_PREFERENCES: TalkPreferences = {
  scenarioId: "free-talk",
  engine: "",
  voice: "",
  speechRate: 1,
  pushToTalk: false,
  captionsOnly: false,
  tutorOpens: true,
  noRecording: false,
  microphoneId: "",
  rawMicrophone: false,
  transport: "auto",
};

/** The speeds to choose from. */
export const SPEECH_RATES = [0.7, 0.85, 1, 1.15] as const;

const KEY = "parley.talk";
const listeners = new Set<() => void>();
let current = parsePreferences(keptJson(KEY));

/** The wishes now. */
export function preferences(): TalkPreferences {
  return current;
}

/** Changes some of them, and keeps them. */
export function prefer(change: Partial<TalkPreferences>): void {
  current = { ...current, ...change };
  keep(KEY, JSON.stringify(current));
  for (const listener of [...listeners]) listener();
}

/** The wishes, for components. */
export function usePreferences(): TalkPreferences {
  return useSyncExternalStore((listener) => {
    listeners.add(listener);
    return () => listeners.delete(listener);
  }, preferences);
}

/** Reads what was kept, as JSON has it; whatever is not of its kind is left out. */
export function parsePreferences(wishes: unknown): TalkPreferences {
  if (typeof wishes !== "object" || wishes === null) return DEFAULT_PREFERENCES;
  const entries = Object.entries(wishes).filter(
    ([key, value]) =>
      key in DEFAULT_PREFERENCES &&
      typeof value === typeof DEFAULT_PREFERENCES[key as keyof TalkPreferences],
  );
  const merged = {
    ...DEFAULT_PREFERENCES,
    ...(Object.fromEntries(entries) as Partial<TalkPreferences>),
  };
  const speechRate = Math.min(2, Math.max(0.5, merged.speechRate));
  const transports: readonly string[] = ["auto", "upload", "push", "websocket"];
  return {
    ...merged,
    speechRate,
    transport: transports.includes(merged.transport) ? merged.transport : "auto",
  };
}
