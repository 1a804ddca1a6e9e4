/** Which transport this page uses, and why, from what it finds. */

import type { TransportName } from "./link";

/** What the page found out about its browser and its connection. */
export interface Surroundings {
  /** The browser can stream a request's body (Chromium; others send it whole or not at all). */
  readonly requestStreams: boolean;
  /** How page and server talk, as `nextHopProtocol` says it: "h2", "http/1.1", "" unknown. */
  readonly protocol: string;
  /** What the learner chose in the diagnostics panel. */
  readonly preferred: TransportName | "auto";
  /** A transport that was tried and failed where it should have worked. */
  readonly failed?: TransportName;
}

/** A choice and its reason, in words. */
export interface Choice {
  readonly name: TransportName;
  readonly why: string;
}

/** Whether many requests share one connection; of an unknown protocol it is not believed. */
export function sharesConnection(protocol: string): boolean {
  return protocol === "h2" || protocol === "h3";
}

/** Chooses. Pure. */
export function chooseTransport(found: Surroundings): Choice {
  const { preferred, protocol, requestStreams, failed } = found;
  if (preferred === "websocket" || preferred === "push")
    return { name: preferred, why: "You chose it." };
  const h2 = sharesConnection(protocol);
  if (preferred === "upload" && requestStreams && h2)
    return { name: "upload", why: "You chose it." };
  if (failed === "upload") {
    return {
      name: "push",
      why: "A streamed upload did not get through, so sound goes in batches.",
    };
  }
  if (!requestStreams) {
    return { name: "push", why: "This browser cannot stream an upload, so sound goes in batches." };
  }
  if (!h2) {
    const how = protocol || "an unknown protocol";
    return { name: "push", why: `The page came over ${how}; a streamed upload needs HTTP/2.` };
  }
  return { name: "upload", why: "Browser and connection can stream both ways." };
}

/** Whether the browser streams request bodies: it asks for `duplex`, and sets no type by itself. */
export function hasRequestStreams(): boolean {
  try {
    let asked = false as boolean;
    const request = new Request("https://parley.invalid/", {
      method: "POST",
      body: new ReadableStream(),
      get duplex() {
        asked = true;
        return "half";
      },
    } as RequestInit);
    return asked && !request.headers.has("content-type");
  } catch {
    return false;
  }
}

/**
 * How this page and its server talk: "h2", "http/1.1"; empty where nothing tells.
 *
 * A page that the service worker kept was loaded over nothing at all. What it has asked the server
 * for since, and the worker let pass, tells.
 */
export function pageProtocol(): string {
  for (const entry of performance.getEntriesByType("navigation")) {
    const protocol = protocolOf(entry);
    if (protocol) return protocol;
  }
  for (const entry of performance.getEntriesByType("resource")) {
    const protocol = protocolOf(entry);
    if (protocol && new URL(entry.name).origin === location.origin) return protocol;
  }
  return "";
}

function protocolOf(entry: PerformanceEntry): string {
  return "nextHopProtocol" in entry ? String(entry.nextHopProtocol) : "";
}
