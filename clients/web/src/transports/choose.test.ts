import { afterEach, describe, expect, test, vi } from "vitest";

import { type Surroundings, chooseTransport, pageProtocol, sharesConnection } from "./choose";

const CHROMIUM: Surroundings = { requestStreams: true, protocol: "h2", preferred: "auto" };

test.each<[string, Partial<Surroundings>, string]>([
  ["Chromium over HTTP/2 streams both ways", {}, "upload"],
  ["plain HTTP/1.1 cannot stream a request", { protocol: "http/1.1" }, "push"],
  ["an unknown protocol is not trusted to", { protocol: "" }, "push"],
  ["other browsers send whole requests", { requestStreams: false }, "push"],
  ["an upload that did not get through is not tried again", { failed: "upload" }, "push"],
  ["the learner may want the WebSocket", { preferred: "websocket" }, "websocket"],
  ["the learner may want batches", { preferred: "push" }, "push"],
  ["a wish that cannot be met is not", { preferred: "upload", protocol: "http/1.1" }, "push"],
])("%s", (_promise, found, wanted) => {
  const { name, why } = chooseTransport({ ...CHROMIUM, ...found });
  expect(name).toBe(wanted);
  expect(why).not.toBe("");
});

describe("the protocol of the page", () => {
  const here = `${location.origin}/parley.user.v1.UserService/Refresh`;

  /** What the browser has noted down of how things were loaded: address and protocol. */
  function loaded(navigation: string, resources: [string, string][] = []): void {
    const entry = ([name, nextHopProtocol]: [string, string]) => ({ name, nextHopProtocol });
    const entries: Record<string, object[]> = {
      navigation: [entry([location.href, navigation])],
      resource: resources.map(entry),
    };
    vi.stubGlobal("performance", { getEntriesByType: (type: string) => entries[type] ?? [] });
  }

  afterEach(() => {
    vi.unstubAllGlobals();
  });

  test.each<[string, string, [string, string][], string]>([
    ["is the one that it was loaded over", "h2", [[here, "http/1.1"]], "h2"],
    [
      "is its calls', where the service worker kept the page",
      "",
      [
        [here, ""],
        [here, "h2"],
      ],
      "h2",
    ],
    ["is not another server's", "", [["https://elsewhere.invalid/", "h2"]], ""],
    ["is unknown before the first call", "", [], ""],
  ])("%s", (_promise, navigation, resources, protocol) => {
    loaded(navigation, resources);
    expect(pageProtocol()).toBe(protocol);
  });

  test.each([
    ["h2", true],
    ["h3", true],
    ["http/1.1", false],
    ["", false],
  ])("of %j shares a connection: %s", (protocol, shares) => {
    expect(sharesConnection(protocol)).toBe(shares);
  });
});
