/** The microphone: asked for, heard, lost and found again. */

import { addWorklet } from "./worklet-module";
import captureUrl from "./worklets/capture.worklet.ts?worker&url";
import type { CaptureOptions, CapturedMessage } from "./worklets/messages";

/** Rate of what is sent: all that a recognizer uses. */
export const CAPTURE_RATE_HZ = 16_000;

/** Why there is no microphone. */
export type MicrophoneTrouble =
  | "denied" // the learner, or a policy, said no
  | "missing" // none is connected
  | "busy" // another program has it
  | "insecure" // the page came over plain HTTP from another machine
  | "unsupported" // no such thing in this browser
  | "failed";

/** The microphone cannot be had. */
export class MicrophoneError extends Error {
  override readonly name = "MicrophoneError";

  constructor(
    readonly trouble: MicrophoneTrouble,
    cause?: unknown,
  ) {
    super(trouble, { cause });
  }
}

/** One frame of the learner's voice. */
export interface Captured {
  readonly pcm: Uint8Array;
  readonly firstSample: number;
  readonly level: number;
  /** When its last sample was taken in, on `performance.now`'s clock. */
  readonly at: number;
}

/** How to listen. */
export interface MicrophoneOptions {
  readonly frameMs: number;
  /** Empty: the system's default. */
  readonly deviceId: string;
  /** False for headphones and for tests: the sound as it is, echo and all. */
  readonly processed: boolean;
  onFrame(frame: Captured): void;
  /** The device is gone. */
  onLost(): void;
  /** Whether somebody else holds it silent: a call, a switch at the device, the system. */
  onSilenced(silenced: boolean): void;
}

/** A microphone that is open. */
export class Microphone {
  private constructor(
    private readonly stream: MediaStream,
    private readonly source: MediaStreamAudioSourceNode,
    private readonly node: AudioWorkletNode,
    /** What the system calls it. */
    readonly label: string,
    readonly deviceId: string,
  ) {}

  /** Asks for the microphone and listens. Throws MicrophoneError, or as `addWorklet`. */
  static async open(context: AudioContext, options: MicrophoneOptions): Promise<Microphone> {
    const stream = await ask(options);
    const [track] = stream.getAudioTracks();
    if (!track) throw new MicrophoneError("missing");
    try {
      await addWorklet(context, captureUrl);
    } catch (error) {
      track.stop();
      throw error;
    }
    const processorOptions: CaptureOptions = {
      toHz: CAPTURE_RATE_HZ,
      frameSamples: (CAPTURE_RATE_HZ * options.frameMs) / 1000,
    };
    const node = new AudioWorkletNode(context, "parley-capture", {
      numberOfInputs: 1,
      numberOfOutputs: 0,
      channelCount: 1,
      channelCountMode: "explicit",
      processorOptions,
    });
    node.port.onmessage = ({ data }: MessageEvent<CapturedMessage>) => {
      const { pcm, firstSample, level, endTime } = data;
      const at = performance.now() + (endTime - context.currentTime) * 1000;
      options.onFrame({ pcm: new Uint8Array(pcm), firstSample, level, at });
    };
    const source = context.createMediaStreamSource(stream);
    source.connect(node);
    track.addEventListener("ended", () => options.onLost());
    track.addEventListener("mute", () => options.onSilenced(true));
    track.addEventListener("unmute", () => options.onSilenced(false));
    return new Microphone(stream, source, node, track.label, track.getSettings().deviceId ?? "");
  }

  /** Lets it go: the browser's sign of listening goes out. */
  close(): void {
    this.node.port.onmessage = null;
    this.source.disconnect();
    this.node.disconnect();
    for (const track of this.stream.getTracks()) track.stop();
  }
}

async function ask({ deviceId, processed }: MicrophoneOptions): Promise<MediaStream> {
  if (!globalThis.isSecureContext) throw new MicrophoneError("insecure");
  // Typed as always there; absent in old browsers and in web views.
  const devices = navigator.mediaDevices as MediaDevices | undefined;
  if (!devices) throw new MicrophoneError("unsupported");
  const audio: MediaTrackConstraints = {
    channelCount: 1,
    echoCancellation: processed,
    noiseSuppression: processed,
    autoGainControl: processed,
    ...(deviceId && { deviceId: { ideal: deviceId } }),
  };
  try {
    return await devices.getUserMedia({ audio });
  } catch (error) {
    throw new MicrophoneError(troubleOf(error), error);
  }
}

/** Reads what `getUserMedia` throws. */
export function troubleOf(error: unknown): MicrophoneTrouble {
  if (!(error instanceof DOMException)) return "failed";
  switch (error.name) {
    case "NotAllowedError":
    case "SecurityError":
      return "denied";
    case "NotFoundError":
    case "OverconstrainedError":
      return "missing";
    case "NotReadableError":
    case "AbortError":
      return "busy";
    default:
      return "failed";
  }
}

/** The microphones to choose from; their names are empty until one was allowed. */
export async function microphones(): Promise<MediaDeviceInfo[]> {
  const devices = navigator.mediaDevices as MediaDevices | undefined;
  if (!devices) return [];
  const all = await devices.enumerateDevices();
  return all.filter((each) => each.kind === "audioinput" && each.deviceId !== "");
}
