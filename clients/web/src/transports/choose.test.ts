import { expect, test } from "vitest";

import { type Surroundings, chooseTransport } from "./choose";

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
