import { beforeEach, expect, test, vi } from "vitest";

import { type AudioPlayer, Player } from "./player";

class FakeAudio extends EventTarget implements AudioPlayer {
  src = "";
  currentTime = 0;
  playbackRate = 1;
  preservesPitch = false;
  paused = true;
  ended = false;
  play(): Promise<void> {
    this.paused = false;
    this.dispatchEvent(new Event("play"));
    return Promise.resolve();
  }
  pause(): void {
    this.paused = true;
    this.dispatchEvent(new Event("pause"));
  }
  load(): void {
    this.currentTime = 0;
  }
}

const revoked = vi.fn();
let audio: FakeAudio;
let player: Player;
const settled = () => vi.waitFor(() => expect(player.state().phase).not.toBe("fetching"));

beforeEach(() => {
  URL.createObjectURL = vi.fn(() => "blob:x");
  URL.revokeObjectURL = revoked;
  revoked.mockClear();
  audio = new FakeAudio();
  player = new Player(audio);
  player.use(() => Promise.resolve(new Blob(["x"])));
  return player.open();
});

test("nothing is fetched before it is wanted", () => {
  expect(player.state().phase).toBe("empty");
});

test("a place that was pointed at before the sound was there is where it begins", async () => {
  player.play(12_000);
  expect(player.state().phase).toBe("fetching");
  expect(player.positionMs).toBe(12_000);
  await settled();
  expect(audio.currentTime).toBe(12);
  await vi.waitFor(() => expect(player.state().playing).toBe(true));
});

test("pressed again while it is fetched, it does not begin to speak", async () => {
  player.toggle();
  player.toggle();
  await settled();
  expect(player.state()).toMatchObject({ phase: "ready", playing: false });
});

test("another side of the recording goes on from the same place", async () => {
  player.play(3_000);
  await settled();
  audio.currentTime = 5;
  player.use(() => Promise.resolve(new Blob(["y"])));
  await settled();
  expect(audio.currentTime).toBe(5);
  expect(revoked).toHaveBeenCalledWith("blob:x");
});

test("what cannot be fetched says so, and can be tried again", async () => {
  player.use(() => Promise.reject(new TypeError("failed to fetch")));
  player.play();
  await settled();
  expect(player.state().phase).toBe("failed");
  expect(player.state().problem?.wayOn).toBe("retry");
  player.use(() => Promise.resolve(new Blob(["x"])));
  player.play();
  await settled();
  expect(player.state().phase).toBe("ready");
});

test("the speed holds for a recording that is fetched later", async () => {
  player.setRate(0.6);
  player.play();
  await settled();
  expect(audio.playbackRate).toBe(0.6);
  expect(audio.preservesPitch).toBe(true);
});
