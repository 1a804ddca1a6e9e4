import { type MessageInitShape, create } from "@bufbuild/protobuf";
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { Code } from "@connectrpc/connect";
import {
  type ConverseRequest,
  ConverseResponseSchema,
  type StartSession,
} from "@parley/stubs/parley/conversation/v1/conversation_pb";
import { ReplyEndReason } from "@parley/stubs/parley/types/v1/turn_pb";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";

import type { JitterBuffer } from "@/audio/jitter-buffer";
import type { LoudspeakerEvents } from "@/audio/loudspeaker";
import type { MicrophoneOptions } from "@/audio/microphone";
import { RefusedError, refusal } from "@/rpc/refusal";
import type { LinkEvents, Place } from "@/transports/link";
import { DEFAULT_PREFERENCES, prefer } from "@/wishes/talk-preferences";

import { canGoOn, forgetLeft, leftTalk } from "./left-talk";
import { Talk } from "./talk";

// The world around a talk, as the mocks below hand it over.
const world = vi.hoisted(() => ({
  link: null as LinkEvents | null,
  sent: [] as ConverseRequest[],
  microphone: null as MicrophoneOptions | null,
  /** How many are open. */
  microphones: 0,
  /** Where it is set, whoever asks for a microphone waits for its answer. */
  asked: null as Promise<void> | null,
  refuseMicrophone: null as Error | null,
  loudspeaker: null as LoudspeakerEvents | null,
  commands: [] as string[],
  farewells: [] as string[],
  starts: [] as StartSession[],
  context: null as (EventTarget & { state: string }) | null,
}));

vi.mock("@/transports/choose", () => ({
  chooseTransport: () => ({ name: "push", why: "a test" }),
  hasRequestStreams: () => false,
  pageProtocol: () => "h2",
}));
vi.mock("@/transports/push", () => ({
  Push: class {
    name = "push";
    frameMs = 40;
    farewell = ({ conversationId }: Place) => world.farewells.push(conversationId);
    countsStart = false;
    open(start: StartSession, _count: unknown, events: LinkEvents) {
      world.link = events;
      world.starts.push(start);
      return {
        queued: 0,
        affinity: "",
        send: (request: ConverseRequest) => world.sent.push(request),
        close: () => undefined,
        abort: () => undefined,
        leave: () => undefined,
      };
    }
  },
}));
vi.mock("@/audio/microphone", async (original) => ({
  ...(await original<object>()),
  Microphone: {
    open: async (_context: unknown, options: MicrophoneOptions) => {
      await world.asked;
      if (world.refuseMicrophone) throw world.refuseMicrophone;
      world.microphone = options;
      world.microphones += 1;
      return { label: "a microphone", close: () => void (world.microphones -= 1) };
    },
  },
}));
vi.mock("@/audio/loudspeaker", () => ({
  latencyMs: () => 0,
  Loudspeaker: class {
    static prepare = () => Promise.resolve();
    constructor(_context: unknown, _rate: number, events: LoudspeakerEvents) {
      world.loudspeaker = events;
    }
    begin = (generation: number) => world.commands.push(`begin ${generation}`);
    push = (generation: number) => world.commands.push(`push ${generation}`);
    complete = (generation: number) => world.commands.push(`complete ${generation}`);
    stop = (generation: number) => world.commands.push(`stop ${generation}`);
    hold = () => world.commands.push("hold");
    goOn = () => world.commands.push("go on");
    close = () => undefined;
  },
}));

vi.stubGlobal(
  "AudioContext",
  class extends EventTarget {
    sampleRate = 48_000;
    state = "running";
    constructor() {
      super();
      world.context = this;
    }
    resume = () => Promise.resolve();
    close = () => Promise.resolve();
  },
);

type Message = NonNullable<MessageInitShape<typeof ConverseResponseSchema>["message"]>;
let seq: bigint;
let talk: Talk;

function server(message: Message, { turn = 1, generation = 0 } = {}): void {
  world.link?.onResponse(
    create(ConverseResponseSchema, {
      seq: ++seq,
      turn,
      generation: BigInt(generation),
      message,
    }),
  );
}

function position(heardMs: number): ReturnType<JitterBuffer["position"]> {
  return {
    generation: 1,
    heardMs,
    givenMs: heardMs + 20,
    queuedMs: 500,
    sounded: true,
    settled: false,
    drained: false,
    underruns: 0,
    refused: 0,
  };
}

/** What the learner's side sent, pings apart. */
function sent(): string[] {
  return world.sent.map((each) => each.message.case ?? "").filter((each) => each !== "ping");
}

function lastSent(kind: string): unknown {
  return world.sent.findLast((each) => each.message.case === kind)?.message.value;
}

function speak(firstSample = 0): void {
  world.microphone?.onFrame({
    pcm: new Uint8Array(1280),
    firstSample,
    level: 0.1,
    at: performance.now(),
  });
}

async function begin(): Promise<void> {
  await talk.start();
  server({ case: "started", value: { conversationId: "c", resumeHandle: "h" } });
}

function tutorSpeaks(): void {
  server({ case: "replyStarted", value: {} }, { generation: 1 });
  server({ case: "replyAudio", value: { pcm: new Uint8Array(960) } }, { generation: 1 });
  world.loudspeaker?.onSounded(1, performance.now());
  world.loudspeaker?.onPosition(position(300), 0.2);
}

beforeEach(() => {
  Object.assign(world, { link: null, sent: [], microphone: null, loudspeaker: null, commands: [] });
  world.farewells = [];
  world.starts = [];
  world.microphones = 0;
  world.asked = null;
  forgetLeft();
  world.refuseMicrophone = null;
  seq = 0n;
  prefer(DEFAULT_PREFERENCES);
  talk = new Talk();
});

afterEach(() => {
  talk.drop();
});

describe("beginning", () => {
  test("asks for the microphone, opens the session, and then listens", async () => {
    const started = talk.start();
    expect(talk.state).toMatchObject({ phase: "starting", listening: "asking" });
    await started;
    speak();
    expect(sent()).toEqual([]);
    server({ case: "started", value: { conversationId: "c", resumeHandle: "h" } });
    expect(talk.state).toMatchObject({ phase: "live", listening: "on" });
    speak();
    expect(sent()).toEqual(["audio"]);
  });

  test("a microphone that is refused is told, and nothing is opened", async () => {
    const { MicrophoneError } = await import("@/audio/microphone");
    world.refuseMicrophone = new MicrophoneError("denied");
    await talk.start();
    expect(talk.state.phase).toBe("idle");
    expect(talk.state.microphoneProblem?.title).toMatch(/may not use/);
    expect(world.link).toBeNull();
    await talk.start({ typedOnly: true });
    server({ case: "started", value: { conversationId: "c" } });
    expect(talk.state).toMatchObject({ phase: "live", listening: "typed-only" });
  });

  test("sound that cannot be loaded is the server's trouble, not the microphone's", async () => {
    world.refuseMicrophone = new RefusedError(refusal(Code.NotFound, "", "PAGE_OUTDATED"));
    await talk.start();
    expect(talk.state).toMatchObject({
      phase: "idle",
      problem: { title: "Parley has been renewed.", wayOn: "reload" },
      microphoneProblem: null,
    });
    world.refuseMicrophone = new TypeError("Failed to fetch");
    await talk.start();
    expect(talk.state).toMatchObject({
      problem: { title: "Parley does not answer.", wayOn: "retry" },
      microphoneProblem: null,
    });
  });

  test("a refusal is told where one began, with its way on", async () => {
    await talk.start();
    world.link?.onEnd(refusal(Code.ResourceExhausted, "", "TOO_MANY_CONVERSATIONS"));
    expect(talk.state).toMatchObject({ phase: "idle", problem: { wayOn: "retry" } });
  });

  test("can be given up before it has begun", async () => {
    await talk.start();
    talk.finish();
    expect(talk.state.phase).toBe("idle");
  });
});

describe("another talk", () => {
  test("begins with what was chosen as soon as this one has ended in good order", async () => {
    await begin();
    talk.startAnother({ engine: "claude", scenarioId: "travel" });
    expect([talk.state.phase, sent()]).toEqual(["finishing", ["finish"]]);
    expect(world.starts).toHaveLength(1);
    server({ case: "ended", value: { summary: { turns: 3 } } });
    expect(talk.state).toMatchObject({ phase: "starting", view: { turns: [], summary: null } });
    await vi.waitFor(() => expect(world.starts).toHaveLength(2));
    expect(world.starts[1]).toMatchObject({ engine: "claude", scenarioId: "travel" });
    seq = 0n;
    server({ case: "started", value: { conversationId: "c2" } });
    expect(talk.state).toMatchObject({ phase: "live", listening: "on" });
    talk.finish();
    server({ case: "ended", value: {} });
    expect(talk.state.phase).toBe("over");
  });

  test("is written where this one was", async () => {
    await talk.start({ typedOnly: true });
    server({ case: "started", value: { conversationId: "c" } });
    talk.startAnother({});
    server({ case: "ended", value: {} });
    expect(talk.state).toMatchObject({ phase: "starting", listening: "typed-only" });
  });

  test("waits where the end of this one was never answered: that is told first", async () => {
    await begin();
    vi.useFakeTimers();
    talk.startAnother({ scenarioId: "travel" });
    vi.advanceTimersByTime(10_000);
    vi.useRealTimers();
    expect(talk.state).toMatchObject({ phase: "over", problem: { wayOn: "start-new" } });
    expect(world.starts).toHaveLength(1);
    talk.reset();
    await talk.start();
    expect(world.starts[1]).toMatchObject({ scenarioId: "travel" });
    talk.finish();
    expect(talk.state.phase).toBe("idle");
  });
});

describe("an interruption", () => {
  test("by the button: silence at once, then what was heard, then the wish", async () => {
    await begin();
    tutorSpeaks();
    world.sent.length = 0;
    talk.interrupt();
    expect(world.commands.at(-1)).toBe("stop 1");
    expect(sent()).toEqual(["heard", "interrupt"]);
    // What the card was given can no longer be stopped.
    expect(lastSent("interrupt")).toMatchObject({ generation: 1n, heardMs: 320 });
  });

  test("by voice: the server holds, hears, and decides", async () => {
    await begin();
    tutorSpeaks();
    world.loudspeaker?.onPosition(position(350), 0.2);
    world.sent.length = 0;
    server({ case: "replyPaused", value: {} }, { generation: 1 });
    expect(world.commands.at(-1)).toBe("hold");
    expect(lastSent("heard")).toMatchObject({ audioMs: 350 });
    server({ case: "replyResumed", value: {} }, { generation: 1 });
    expect(world.commands.at(-1)).toBe("go on");
    const reason = ReplyEndReason.INTERRUPTED;
    server({ case: "replyEnded", value: { reason, heardText: "Me" } }, { generation: 1 });
    expect(world.commands.at(-1)).toBe("stop 1");
    expect(talk.state.view.floor).toBe("listening");
  });

  test("typing over the tutor stops the tutor first", async () => {
    await begin();
    tutorSpeaks();
    world.sent.length = 0;
    talk.say("  Wait!  ");
    expect(sent()).toEqual(["heard", "interrupt", "text"]);
    expect(lastSent("text")).toMatchObject({ text: "Wait!" });
  });
});

describe("the microphone", () => {
  test("sends nothing while it is muted, and keeps its place in time", async () => {
    await begin();
    speak(0);
    talk.setMuted(true);
    speak(640);
    talk.setMuted(false);
    speak(1280);
    expect(sent()).toEqual(["audio", "settings", "settings", "audio"]);
    expect(lastSent("audio")).toMatchObject({ firstSample: 1280n });
  });

  test("is heard only while the button is held, which ends the utterance", async () => {
    prefer({ pushToTalk: true });
    await begin();
    speak(0);
    talk.hold();
    speak(640);
    talk.letGo();
    speak(1280);
    expect(sent()).toEqual(["audio", "endTurn"]);
  });

  test("that is lost while the button is held ends the utterance", async () => {
    prefer({ pushToTalk: true });
    await begin();
    talk.hold();
    speak(0);
    world.microphone?.onLost();
    expect(talk.state).toMatchObject({ listening: "lost", holding: false });
    talk.letGo();
    expect(sent()).toEqual(["audio", "endTurn"]);
  });

  test("that a call holds silent is told, and is well when it is let go", async () => {
    await begin();
    world.microphone?.onSilenced(true);
    expect(talk.state.microphoneProblem?.title).toMatch(/held silent/);
    world.microphone?.onSilenced(false);
    expect(talk.state).toMatchObject({ listening: "on", microphoneProblem: null });
  });

  test("that is unplugged does not end the talk", async () => {
    await begin();
    world.microphone?.onLost();
    expect(talk.state).toMatchObject({ phase: "live", listening: "lost" });
    expect(talk.state.microphoneProblem?.title).toMatch(/unplugged/);
    expect(sent()).toEqual([]);
    await talk.listenAgain();
    expect(talk.state).toMatchObject({ listening: "on", microphoneProblem: null });
  });
});

describe("a talk that is written", () => {
  async function beginTyped(): Promise<void> {
    await talk.start({ typedOnly: true });
    server({ case: "started", value: { conversationId: "c" } });
  }

  test.each([{ rawMicrophone: true }, { microphoneId: "the desk's" }])(
    "opens no microphone for the wish %o",
    async (wish) => {
      await beginTyped();
      talk.prefer(wish);
      await Promise.resolve();
      expect(talk.state.listening).toBe("typed-only");
      expect(world.microphones).toBe(0);
    },
  );

  test("asked for the microphone twice opens one, and closes that with its end", async () => {
    await beginTyped();
    let answer!: () => void;
    world.asked = new Promise((resolve) => (answer = resolve));
    const asked = [talk.listenAgain(), talk.listenAgain()];
    expect(talk.state.listening).toBe("asking");
    answer();
    await Promise.all(asked);
    expect(world.microphones).toBe(1);
    expect(talk.state.listening).toBe("on");
    talk.finish();
    server({ case: "ended", value: {} });
    expect(world.microphones).toBe(0);
  });

  test("that ends while the browser asks leaves no microphone open", async () => {
    await beginTyped();
    let answer!: () => void;
    world.asked = new Promise((resolve) => (answer = resolve));
    const asked = talk.listenAgain();
    talk.drop();
    answer();
    await asked;
    expect(world.microphones).toBe(0);
    expect(talk.state).toMatchObject({ phase: "idle", listening: "off" });
  });

  test("says nothing before it is open or once it is being ended, and tells so", async () => {
    await talk.start({ typedOnly: true });
    expect(talk.say("I was early.")).toBe(false);
    server({ case: "started", value: { conversationId: "c" } });
    expect(talk.say("Just in time.")).toBe(true);
    talk.finish();
    expect(talk.say("I was late.")).toBe(false);
    expect(sent()).toEqual(["text", "finish"]);
    expect(talk.state.view.turns).toHaveLength(1);
  });
});

test("a microphone that is unplugged while a talk begins is told, and the talk begins", async () => {
  await talk.start();
  world.microphone?.onLost();
  server({ case: "started", value: { conversationId: "c" } });
  expect(talk.state).toMatchObject({ phase: "live", listening: "lost" });
  expect(talk.state.microphoneProblem?.title).toMatch(/unplugged/);
});

test("a sound system that stops is told, and a tap starts it", async () => {
  await begin();
  expect(talk.state.soundStopped).toBe(false);
  if (world.context) world.context.state = "interrupted";
  world.context?.dispatchEvent(new Event("statechange"));
  await vi.waitFor(() => expect(talk.state.soundStopped).toBe(true));
  if (world.context) world.context.state = "running";
  talk.wakeSound();
  await vi.waitFor(() => expect(talk.state.soundStopped).toBe(false));
});

test("a server that will go away is told of until the talk goes on elsewhere", async () => {
  await begin();
  server({ case: "goAway", value: { timeLeftMs: 30_000 } });
  expect(talk.state).toMatchObject({ phase: "live", view: { timeLeftMs: 30_000 } });
  speak();
  expect(sent()).toEqual(["audio"]);
  world.link?.onEnd(refusal(Code.Unavailable, "", "SERVICE_STOPPING"));
  expect(talk.state.view.floor).toBe("reconnecting");
  talk.hurry();
  server({ case: "started", value: { conversationId: "c", resumed: true } });
  expect(talk.state).toMatchObject({ phase: "live", view: { timeLeftMs: null } });
});

test("what is queued is stopped without a connection, and the server is told later", async () => {
  await begin();
  tutorSpeaks();
  world.link?.onEnd(refusal(Code.Unavailable, "cut"));
  world.sent.length = 0;
  talk.interrupt();
  expect(world.commands.at(-1)).toBe("stop 1");
  talk.hurry();
  server({ case: "started", value: { conversationId: "c", resumed: true } });
  expect(sent()).toContain("interrupt");
});

describe("what was heard", () => {
  test("is reported with the first sound, every 200 ms, and with its delay once", async () => {
    await begin();
    tutorSpeaks();
    world.loudspeaker?.onPosition(position(400), 0.2);
    world.loudspeaker?.onPosition(position(510), 0.2);
    const reports = world.sent.flatMap(({ message }) =>
      message.case === "heard" ? [message.value.audioMs] : [],
    );
    expect(reports).toEqual([300, 510]);
    const first = world.sent.find((each) => each.message.case === "heard");
    expect(first?.message.value).toHaveProperty("playDelayMs");
  });

  test("of an older generation nothing reaches the loudspeaker", async () => {
    await begin();
    tutorSpeaks();
    server({ case: "replyStarted", value: {} }, { turn: 2, generation: 2 });
    const before = world.commands.length;
    server({ case: "replyAudio", value: { pcm: new Uint8Array(960) } }, { generation: 1 });
    expect(world.commands).toHaveLength(before);
  });
});

describe("the end", () => {
  test("that was asked for comes with the page's", async () => {
    await begin();
    talk.finish();
    dispatchEvent(new PageTransitionEvent("pagehide", { persisted: false }));
    expect(world.farewells).toEqual(["c"]);
    expect(leftTalk()).toBeNull();
  });

  test("of a talk given up too early is told as soon as it can be", async () => {
    await talk.start();
    talk.finish();
    expect(talk.state.phase).toBe("idle");
    server({ case: "started", value: { conversationId: "c" } });
    expect([talk.state.phase, world.farewells]).toEqual(["idle", ["c"]]);
  });

  test("that is never answered does not look like a success", async () => {
    await begin();
    vi.useFakeTimers();
    talk.finish();
    vi.advanceTimersByTime(10_000);
    vi.useRealTimers();
    expect(talk.state).toMatchObject({ phase: "over", problem: { wayOn: "start-new" } });
    expect(talk.state.problem?.title).toMatch(/did not say/);
    expect(world.farewells).toEqual(["c"]);
  });

  test("asked for while the connection is lost waits for it", async () => {
    await begin();
    world.link?.onEnd(refusal(Code.Unavailable, "cut"));
    expect(talk.state.view.floor).toBe("reconnecting");
    talk.finish();
    expect(talk.state.phase).toBe("finishing");
    server({ case: "started", value: { conversationId: "c", resumed: true } });
    expect(sent()).toContain("finish");
    server({ case: "ended", value: { summary: { turns: 3 } } });
    expect(talk.state).toMatchObject({ phase: "over", problem: null });
  });

  test("brings the summary", async () => {
    await begin();
    talk.finish();
    expect(sent()).toEqual(["finish"]);
    server({ case: "ended", value: { summary: { turns: 3 } } });
    expect(talk.state).toMatchObject({ phase: "over", problem: null });
    expect(talk.state.view.summary?.turns).toBe(3);
    talk.reset();
    expect(talk.state.phase).toBe("idle");
  });

  test("that comes with the sign-in's is summed up, and says why", async () => {
    await begin();
    const info = new BinaryWriter().tag(1, WireType.LengthDelimited).string("SESSION_ENDED");
    const detail = { typeUrl: "x/google.rpc.ErrorInfo", value: info.finish() };
    const status = { code: Code.Unauthenticated, details: [detail] };
    server({ case: "notice", value: { fatal: true, status } });
    server({ case: "ended", value: { summary: { turns: 3 } } });
    expect(talk.state).toMatchObject({ phase: "over", problem: { wayOn: "sign-in" } });
    expect(talk.state.problem?.title).toMatch(/signed out/);
    expect(talk.state.view.summary?.turns).toBe(3);
  });

  test("after which nothing of it is left, for who signs in next", async () => {
    await begin();
    tutorSpeaks();
    talk.drop();
    expect(talk.state).toMatchObject({ phase: "idle", view: { turns: [], conversationId: "" } });
    expect(talk.canRepeat).toBe(false);
    world.sent.length = 0;
    speak();
    expect(sent()).toEqual([]);
  });

  test("that nobody asked for says why, and keeps what was said", async () => {
    await begin();
    server({ case: "notice", value: { fatal: true } });
    world.link?.onEnd(refusal(Code.DeadlineExceeded, "", "CONVERSATION_IDLE"));
    expect(talk.state.phase).toBe("over");
    expect(talk.state.problem?.title).toMatch(/quiet/);
    expect(talk.state.view.conversationId).toBe("c");
  });
});

describe("a page that goes away", () => {
  const limits = { resumeS: 120 };

  /** Leaves the page in the middle of a reply, and loads it anew. */
  async function reload(): Promise<void> {
    await talk.start();
    server({ case: "started", value: { conversationId: "c", resumeHandle: "h", limits } });
    server({ case: "transcript", value: { final: true, transcript: { verbatim: "Hello." } } });
    tutorSpeaks();
    dispatchEvent(new PageTransitionEvent("pagehide", { persisted: false }));
    talk = new Talk();
    Object.assign(world, { sent: [], commands: [], starts: [] });
  }

  test("for a while only leaves everything as it is", async () => {
    await begin();
    dispatchEvent(new PageTransitionEvent("pagehide", { persisted: true }));
    expect(leftTalk()).toBeNull();
    speak();
    expect(sent()).toEqual(["audio"]);
  });

  test("leaves its talk open for the next page, which shows it and says the reply again", async () => {
    await reload();
    expect(world.farewells).toEqual([]);
    expect(canGoOn(leftTalk())).toBe(true);
    await talk.goOn();
    expect(world.starts.at(-1)).toMatchObject({ resumeHandle: "h", lastSeq: 0n });
    const told = seq;
    seq = -1n;
    const nextSample = 32_000n;
    const value = { conversationId: "c", resumeHandle: "h", resumed: true, nextSample, limits };
    server({ case: "started", value }, { turn: 0 });
    expect(talk.state).toMatchObject({ phase: "live", listening: "on" });
    expect(leftTalk()).toBeNull();
    seq = 1n;
    server({ case: "transcript", value: { final: true, transcript: { verbatim: "Hello." } } });
    server({ case: "replyStarted", value: {} }, { generation: 1 });
    server({ case: "replyAudio", value: { pcm: new Uint8Array(960) } }, { generation: 1 });
    expect(seq).toBe(told);
    expect(talk.state.view.turns).toMatchObject([{ utterance: "Hello.", generation: 1 }]);
    expect(world.commands).toEqual(["begin 1", "push 1"]);
    // What the microphone hears joins where the server has got to.
    speak(0);
    expect(lastSent("audio")).toMatchObject({ firstSample: nextSample });
  });

  test("does not have said again what was heard to its end", async () => {
    await talk.start();
    server({ case: "started", value: { conversationId: "c", resumeHandle: "h", limits } });
    server({ case: "replyStarted", value: {} }, { generation: 1 });
    const reason = ReplyEndReason.COMPLETED;
    server({ case: "replyEnded", value: { reason } }, { generation: 1 });
    dispatchEvent(new PageTransitionEvent("pagehide", { persisted: false }));
    talk = new Talk();
    world.commands.length = 0;
    await talk.goOn();
    server({ case: "started", value: { conversationId: "c", resumed: true } }, { turn: 0 });
    seq = 1n;
    server({ case: "replyStarted", value: {} }, { generation: 1 });
    server({ case: "replyEnded", value: { reason } }, { generation: 1 });
    expect(world.commands).toEqual([]);
    server({ case: "replyStarted", value: {} }, { turn: 2, generation: 2 });
    expect(world.commands).toEqual(["begin 2"]);
  });

  test("keeps no place from the talk that is begun instead", async () => {
    await reload();
    const starting = talk.start();
    expect(world.starts).toMatchObject([{ resumeHandle: "h" }]);
    server({ case: "started", value: { conversationId: "c", resumed: true } });
    expect(sent()).toContain("finish");
    server({ case: "ended", value: {} });
    await starting;
    expect(world.starts.map((each) => each.resumeHandle)).toEqual(["h", ""]);
    expect(leftTalk()).toBeNull();
  });

  test("is not gone on with by who signs in next", async () => {
    await reload();
    talk.drop();
    expect(leftTalk()).toBeNull();
    await talk.goOn();
    expect(talk.state.phase).toBe("idle");
  });

  test("whose server waited no longer says so, and begins anew", async () => {
    await reload();
    await talk.goOn();
    world.link?.onEnd(refusal(Code.InvalidArgument, "", "RESUME_HANDLE_INVALID"));
    expect(talk.state).toMatchObject({ phase: "idle", problem: { wayOn: "start-new" } });
    expect(leftTalk()).toBeNull();
  });
});
