/** What a talk asks of the device while it goes on: to stay awake, and to tell of changes. */

/** What the device tells. */
export interface DeviceEvents {
  /** The network is said to be back. */
  readonly onOnline: () => void;
  /** A microphone or a loudspeaker came or went. */
  readonly onDevicesChanged: () => void;
  /** The page goes away for good: it was closed, reloaded, or left for another. */
  readonly onLeaving: () => void;
}

/** Begins; returns what ends it. */
export function whileLive({ onOnline, onDevicesChanged, onLeaving }: DeviceEvents): () => void {
  let over = false;
  let wakeLock: WakeLockSentinel | null = null;
  const stayAwake = async () => {
    try {
      wakeLock = await navigator.wakeLock.request("screen");
      // It may have been granted after the end.
      if (over) await wakeLock.release();
    } catch {
      // Not to be had here: the screen may go dark, the talk goes on.
    }
  };
  const onPageHide = ({ persisted }: PageTransitionEvent) => {
    if (!persisted) onLeaving();
  };
  // The browser lets the screen go dark with every change to another tab, and does not ask again.
  const onVisibility = () => {
    if (document.visibilityState === "visible" && wakeLock?.released !== false) void stayAwake();
  };
  addEventListener("online", onOnline);
  addEventListener("pagehide", onPageHide);
  document.addEventListener("visibilitychange", onVisibility);
  watchedDevices()?.addEventListener("devicechange", onDevicesChanged);
  void stayAwake();
  return () => {
    over = true;
    removeEventListener("online", onOnline);
    removeEventListener("pagehide", onPageHide);
    document.removeEventListener("visibilitychange", onVisibility);
    watchedDevices()?.removeEventListener("devicechange", onDevicesChanged);
    void wakeLock?.release();
  };
}

/** Absent on a plain-HTTP origin, whatever the types say. */
function watchedDevices(): MediaDevices | undefined {
  return navigator.mediaDevices;
}
