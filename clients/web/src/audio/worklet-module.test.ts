import { afterEach, expect, test, vi } from "vitest";

import { problemFromError } from "@/rpc/problem";
import { RefusedError } from "@/rpc/refusal";

import { addWorklet } from "./worklet-module";

const URL = "/assets/capture-1.js";

afterEach(() => {
  vi.unstubAllGlobals();
  vi.restoreAllMocks();
});

/** What a learner is told when the sound system could not load, and the server answers so. */
async function told(answer: () => Promise<Response>) {
  vi.stubGlobal("fetch", vi.fn(answer));
  const addModule = () => Promise.reject(new DOMException("Unable to load", "AbortError"));
  const context = { audioWorklet: { addModule } } as unknown as AudioContext;
  const error: unknown = await addWorklet(context, URL).catch((each: unknown) => each);
  expect(error).toBeInstanceOf(RefusedError);
  return problemFromError(error);
}

function answered(status: number, type = "text/html") {
  return () => Promise.resolve(new Response("", { status, headers: { "content-type": type } }));
}

test.each([
  ["no answer", () => Promise.reject(new TypeError("Failed to fetch"))],
  ["no service behind the gateway", answered(503)],
  ["an answer that came too late", answered(200, "text/javascript")],
])("%s is a server that does not answer, never a broken microphone", async (_, answer) => {
  expect(await told(answer)).toMatchObject({ title: "Parley does not answer.", wayOn: "retry" });
});

test.each([
  ["there no more", answered(404)],
  ["the page itself, for want of it", answered(200)],
])("a file that is %s: the page is older than the server", async (_, answer) => {
  expect(await told(answer)).toMatchObject({ title: "Parley has been renewed.", wayOn: "reload" });
});

test("without a network the page says so, and asks nobody", async () => {
  vi.spyOn(navigator, "onLine", "get").mockReturnValue(false);
  const answer = vi.fn(answered(404));
  expect(await told(answer)).toMatchObject({ title: "You are offline." });
  expect(answer).not.toHaveBeenCalled();
});
