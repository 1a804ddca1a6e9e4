import { type MessageInitShape, create } from "@bufbuild/protobuf";
import { Code } from "@connectrpc/connect";
import {
  type ConverseRequest,
  type ConverseResponse,
  ConverseResponseSchema,
  type StartSession,
  StartSessionSchema,
} from "@parley/stubs/parley/conversation/v1/conversation_pb";
import { beforeEach, describe, expect, test } from "vitest";

import { type Refusal, refusal } from "@/rpc/refusal";

import type { LeftSession } from "./bearings";
import type { Count, Link, LinkEvents, Place, SessionTransport } from "./link";
import { RECONNECT_FOR_MS } from "./retries";
import { LiveSession } from "./session";

/** One opened connection as the test sees it. */
interface Opened {
  readonly start: StartSession;
  readonly count: Count;
  readonly events: LinkEvents;
  readonly sent: ConverseRequest[];
  affinity: string;
  state: "open" | "closed" | "aborted" | "left";
}

class FakeTransport implements SessionTransport {
  readonly frameMs = 20;
  readonly opened: Opened[] = [];
  readonly farewells: { place: Place; seq: bigint }[] = [];

  constructor(
    readonly name: SessionTransport["name"] = "upload",
    readonly countsStart = false,
  ) {}

  farewell = (place: Place, seq: bigint) => this.farewells.push({ place, seq });

  open(start: StartSession, count: Count, events: LinkEvents): Link {
    const one: Opened = { start, count, events, sent: [], affinity: "a1", state: "open" };
    this.opened.push(one);
    return {
      queued: 0,
      get affinity() {
        return one.affinity;
      },
      send: (request) => one.sent.push(request),
      close: () => {
        one.state = "closed";
      },
      abort: () => {
        one.state = "aborted";
      },
      leave: () => {
        one.state = "left";
      },
    };
  }

  get last(): Opened {
    const one = this.opened.at(-1);
    if (!one) throw new Error("nothing was opened");
    return one;
  }
}

class FakeClock {
  now = 1000;
  #timers: { at: number; run: () => void }[] = [];

  after(ms: number, run: () => void): () => void {
    const timer = { at: this.now + ms, run };
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((each) => each !== timer);
    };
  }

  pass(ms: number): void {
    const end = this.now + ms;
    for (;;) {
      const due = this.#timers.filter(({ at }) => at <= end).sort((a, b) => a.at - b.at)[0];
      if (!due) break;
      this.#timers = this.#timers.filter((each) => each !== due);
      this.now = due.at;
      due.run();
    }
    this.now = end;
  }
}

const BROKEN = refusal(Code.Unavailable, "cut");
let transport: FakeTransport;
let clock: FakeClock;
let heard: ConverseResponse[];
let connections: boolean[];
let ends: (Refusal | null)[];
let renewals: number;
let fallback: SessionTransport | null;
let session: LiveSession;

function response(
  seq: number,
  message: MessageInitShape<typeof ConverseResponseSchema>["message"],
): ConverseResponse {
  return create(ConverseResponseSchema, { seq: BigInt(seq), ...(message && { message }) });
}

function started(seq: number, { resumed = false, nextSample = 0 } = {}): ConverseResponse {
  return response(seq, {
    case: "started",
    value: {
      conversationId: "c",
      resumeHandle: "handle-1",
      resumed,
      nextSample: BigInt(nextSample),
    },
  });
}

function make(): LiveSession {
  return new LiveSession(
    transport,
    create(StartSessionSchema, { scenarioId: "free-talk" }),
    {
      onResponse: (each) => heard.push(each),
      onConnection: (connected) => connections.push(connected),
      onEnd: (refused) => ends.push(refused),
    },
    {
      now: () => clock.now,
      after: (ms, run) => clock.after(ms, run),
      renew: () => {
        renewals += 1;
        return Promise.resolve();
      },
      fallback: () => fallback,
    },
  );
}

/** What the learner said and did, without the pings between. */
function said({ sent }: Opened): (string | undefined)[] {
  return sent.map((each) => each.message.case).filter((each) => each !== "ping");
}

beforeEach(() => {
  transport = new FakeTransport();
  clock = new FakeClock();
  heard = [];
  connections = [];
  ends = [];
  renewals = 0;
  fallback = null;
  session = make();
  session.open();
});

describe("a session", () => {
  test("tells every message once, in order, and its end", () => {
    const { events } = transport.last;
    events.onResponse(started(1));
    events.onResponse(response(2, { case: "speechStarted", value: { atMs: 5n } }));
    events.onResponse(response(2, { case: "speechStarted", value: { atMs: 5n } }));
    events.onResponse(response(3, { case: "ended", value: {} }));
    expect(heard.map((each) => each.message.case)).toEqual(["started", "speechStarted", "ended"]);
    expect(ends).toEqual([null]);
    expect(transport.last.state).toBe("closed");
  });

  test("says why it was refused, and does not try again by itself", () => {
    transport.last.events.onEnd(refusal(Code.ResourceExhausted, "full", "AT_CAPACITY"));
    expect(ends.map((each) => each?.reason)).toEqual(["AT_CAPACITY"]);
    expect(transport.opened).toHaveLength(1);
  });

  test("numbers its messages from 1 without gaps", () => {
    transport.last.events.onResponse(started(1));
    session.sendText("Hello");
    session.sendAudio(new Uint8Array(640), 0);
    session.endTurn();
    expect(transport.last.sent.map((each) => Number(each.seq))).toEqual([1, 2, 3, 4]);
  });

  test("says what was typed before it had begun as soon as it has", () => {
    session.sendText("Hello");
    expect(transport.last.sent).toEqual([]);
    transport.last.events.onResponse(started(1));
    session.endTurn();
    expect(said(transport.last)).toEqual(["text", "endTurn"]);
    const numbers = transport.last.sent.map((each) => Number(each.seq));
    expect(numbers).toEqual([...numbers.keys()].map((each) => each + 1));
  });

  test("renews the sign-in once where the token was refused", async () => {
    const expired = refusal(Code.Unauthenticated, "expired", "TOKEN_EXPIRED");
    transport.last.events.onEnd(expired);
    await Promise.resolve();
    expect(transport.opened).toHaveLength(2);
    transport.last.events.onEnd(expired);
    expect([renewals, ends]).toEqual([1, [expired]]);
  });

  test("keeps its transport where nobody was there: that says nothing of the way up", () => {
    fallback = new FakeTransport("push");
    transport.last.events.onEnd(BROKEN);
    clock.pass(600);
    expect([transport.opened.length, session.transportName]).toEqual([2, "upload"]);
  });

  test.each([
    BROKEN,
    { ...refusal(Code.Unavailable, "stopping", "SERVICE_STOPPING"), retryAfterMs: 500 },
  ])("knocks again where nobody was there to let it in: $message", (why) => {
    transport.last.events.onEnd(why);
    expect([transport.opened.length, ends]).toEqual([1, []]);
    clock.pass(600);
    expect(transport.opened).toHaveLength(2);
    transport.last.events.onResponse(started(1));
    session.sendText("Hello");
    expect(said(transport.last)).toEqual(["text"]);
  });

  test("does not knock for ever", () => {
    while (ends.length === 0) {
      transport.last.events.onEnd(BROKEN);
      clock.pass(3_000);
    }
    expect([transport.opened.length, ends]).toEqual([3, [BROKEN]]);
  });

  test("waits for engines that are cold, but not for ever, to be let in", () => {
    clock.pass(19_000);
    expect([transport.last.state, ends]).toEqual(["open", []]);
    clock.pass(41_000);
    expect(ends).toHaveLength(1);
    expect(transport.last.state).toBe("aborted");
  });
});

describe("a session whose connection broke", () => {
  test("comes back with its handle, the last number it handled and what was heard", () => {
    transport.last.events.onResponse(started(1));
    transport.last.events.onResponse(response(7, { case: "speechStarted", value: {} }));
    session.sendHeard(3, 420.6);
    transport.last.events.onEnd(BROKEN);
    expect(connections).toEqual([false]);
    clock.pass(300);
    const { start } = transport.last;
    expect(start).toMatchObject({ resumeHandle: "handle-1", lastSeq: 7n, scenarioId: "free-talk" });
    expect(start.heard).toMatchObject({ generation: 3n, audioMs: 421 });
    transport.last.events.onResponse(started(0, { resumed: true }));
    expect(connections).toEqual([false, true]);
    // What was sent before `started` comes after it, with the older numbers.
    transport.last.events.onResponse(response(8, { case: "speechEnded", value: {} }));
    expect(heard.at(-1)?.message.case).toBe("speechEnded");
  });

  test("sends again what the server may not have, under the old numbers", () => {
    transport.last.events.onResponse(started(1));
    session.sendAudio(new Uint8Array(640), 0);
    session.sendAudio(new Uint8Array(640), 320);
    session.sendText("Hi");
    const before = transport.last.sent.filter((each) => each.message.case !== "ping");
    transport.last.events.onEnd(BROKEN);
    session.sendAudio(new Uint8Array(640), 640);
    clock.pass(300);
    expect(transport.last.sent).toEqual([]);
    transport.last.events.onResponse(started(0, { resumed: true, nextSample: 320 }));
    expect(said(transport.last)).toEqual(["audio", "text", "audio", "settings"]);
    expect(transport.last.sent[0]?.seq).toBe(before[1]?.seq);
    expect(transport.last.count.seq).toBeGreaterThan(transport.last.sent[2]?.seq ?? 0n);
    expect(transport.last.count.firstSeq).toBe(before[0]?.seq);
  });

  test("tells the new connection of the settings that were changed", () => {
    transport.last.events.onResponse(started(1));
    session.changeSettings({ muted: true });
    transport.last.events.onEnd(BROKEN);
    session.changeSettings({ captionsOnly: true });
    clock.pass(300);
    transport.last.events.onResponse(started(0, { resumed: true }));
    const change = transport.last.sent.find((each) => each.message.case === "settings");
    expect(change?.message.value).toMatchObject({ muted: true, captionsOnly: true });
  });

  test("tells the new connection of what changed while the sign-in was renewed", async () => {
    transport.last.events.onResponse(started(1));
    transport.last.events.onEnd(refusal(Code.Unauthenticated, "expired", "TOKEN_EXPIRED"));
    session.changeSettings({ muted: true });
    await Promise.resolve();
    transport.last.events.onResponse(started(0, { resumed: true }));
    const change = transport.last.sent.find((each) => each.message.case === "settings");
    expect(change?.message.value).toMatchObject({ muted: true });
    expect(connections).toEqual([]);
  });

  test("gives up a try that is not answered after five seconds, and makes the next", () => {
    transport.last.events.onResponse(started(1));
    transport.last.events.onEnd(BROKEN);
    clock.pass(300);
    expect([transport.opened.length, transport.last.state]).toEqual([2, "open"]);
    clock.pass(6_000);
    expect([transport.opened[1]?.state, transport.opened.length]).toEqual(["aborted", 3]);
    transport.last.events.onResponse(started(0, { resumed: true }));
    expect([connections, ends]).toEqual([[false, true], []]);
  });

  test("tries more and more slowly, and gives up after half a minute", () => {
    transport.last.events.onResponse(started(1));
    transport.last.events.onEnd(BROKEN);
    const begun = clock.now;
    while (ends.length === 0 && clock.now < begun + 120_000) {
      clock.pass(100);
      if (transport.last.state === "open") transport.last.events.onEnd(BROKEN);
    }
    expect(ends[0]?.reason).toBe("CONNECTION_LOST");
    expect(clock.now - begun).toBeLessThanOrEqual(RECONNECT_FOR_MS);
    expect(transport.opened.length).toBeGreaterThan(8);
    expect(transport.opened.length).toBeLessThan(40);
  });

  test("ends at once for a reason that trying again cannot mend", () => {
    transport.last.events.onResponse(started(1));
    transport.last.events.onEnd(BROKEN);
    clock.pass(300);
    transport.last.events.onEnd(refusal(Code.InvalidArgument, "too old", "RESUME_HANDLE_INVALID"));
    expect(ends.map((each) => each?.reason)).toEqual(["RESUME_HANDLE_INVALID"]);
  });

  test("does not come back after a notice that was fatal", () => {
    transport.last.events.onResponse(started(1));
    transport.last.events.onResponse(response(2, { case: "notice", value: { fatal: true } }));
    transport.last.events.onEnd(refusal(Code.Unavailable, "", "ENGINE_UNAVAILABLE"));
    expect(ends).toHaveLength(1);
  });

  test("looks for its process first, then anywhere, and where it is told", () => {
    transport.last.events.onResponse(started(1));
    transport.last.events.onEnd(BROKEN);
    clock.pass(300);
    expect(transport.last.count.affinity).toBe("a1");
    transport.last.events.onEnd(refusal(Code.Unavailable, "gone", "PEER_UNAVAILABLE"));
    clock.pass(600);
    expect(transport.last.count.affinity).toBe("");
    const metadata = { affinity: "a2", websocket_affinity: "w2" };
    const elsewhere = refusal(Code.Unavailable, "", "SESSION_ELSEWHERE");
    transport.last.events.onEnd({ ...elsewhere, metadata });
    clock.pass(1_200);
    expect(transport.last.count.affinity).toBe("a2");
  });

  test("leaves a process that goes away", () => {
    transport.last.events.onResponse(started(1));
    transport.last.events.onEnd(refusal(Code.Unavailable, "", "SERVICE_STOPPING"));
    clock.pass(300);
    expect(transport.last.count.affinity).toBe("");
  });

  test("hurries when the network is said to be back", () => {
    transport.last.events.onResponse(started(1));
    transport.last.events.onEnd(BROKEN);
    session.hurry();
    expect(transport.opened).toHaveLength(2);
  });

  test("finds out by itself that nobody answers any more", () => {
    transport.last.events.onResponse(started(1));
    clock.pass(25_000);
    expect(transport.opened[0]?.state).toBe("aborted");
    expect(connections).toEqual([false]);
    expect(transport.opened.length).toBeGreaterThan(1);
  });

  test("measures the shortest round trip of its pings", () => {
    transport.last.events.onResponse(started(1));
    const ping = transport.last.sent[0];
    clock.pass(42);
    const nonce = ping?.message.case === "ping" ? ping.message.value.nonce : 0n;
    transport.last.events.onResponse(response(0, { case: "pong", value: { nonce } }));
    expect(session.roundTripMs).toBe(42);
  });

  test("says nothing more after it was closed", () => {
    transport.last.events.onResponse(started(1));
    session.close();
    transport.last.events.onResponse(response(2, { case: "speechStarted", value: {} }));
    transport.last.events.onEnd(BROKEN);
    clock.pass(60_000);
    expect([heard.length, connections, ends, transport.opened.length]).toEqual([1, [], [], 1]);
  });
});

describe("a page that goes away", () => {
  const place = { conversationId: "c", affinity: "a1" };

  test("ends the session behind the last number that was sent", () => {
    transport.last.events.onResponse(started(1));
    session.sendText("Hello");
    session.leave();
    expect(transport.last.state).toBe("left");
    expect(transport.farewells).toEqual([{ place, seq: 3n }]); // behind a ping and the text
    transport.last.events.onEnd(BROKEN);
    expect(ends).toEqual([]);
  });

  test("while the connection is lost, behind what had left before", () => {
    transport.last.events.onResponse(started(1));
    transport.last.events.onEnd(BROKEN);
    session.sendText("Nobody has this");
    session.leave();
    expect(transport.farewells).toEqual([{ place, seq: 2n }]);
    clock.pass(60_000);
    expect(transport.opened).toHaveLength(1);
  });

  test("before the session has begun, as soon as it has", () => {
    session.leave();
    expect(transport.farewells).toEqual([]);
    transport.last.events.onResponse(started(1));
    expect(transport.farewells).toEqual([{ place, seq: 1n }]);
    expect([transport.last.state, heard]).toEqual(["left", []]);
  });
});

describe("a session that another page goes on with", () => {
  const left: LeftSession = {
    conversationId: "c",
    handle: "handle-1",
    transport: "upload",
    affinity: "a1",
    seq: 7n,
    lastSeq: 31n,
  };

  test("is left open, with all that the other page needs", () => {
    transport.last.events.onResponse(started(1));
    session.sendText("Hello");
    transport.last.events.onResponse(response(2, { case: "speechStarted", value: {} }));
    expect(session.depart()).toEqual({ ...left, seq: 2n, lastSeq: 2n });
    expect([transport.last.state, transport.farewells]).toEqual(["aborted", []]);
    clock.pass(60_000);
    expect([ends, connections, transport.opened.length]).toEqual([[], [], 1]);
  });

  test("has everything told again, and numbers on", () => {
    transport = new FakeTransport();
    session = make();
    session.changeSettings({ muted: false });
    session.goOn(left);
    const { start, count, events, sent } = transport.last;
    expect(start).toMatchObject({ resumeHandle: "handle-1", lastSeq: 0n });
    expect(count).toEqual({ seq: 8n, firstSeq: 0n, affinity: "a1" });
    events.onResponse(started(0, { resumed: true, nextSample: 900 }));
    // The very first message is among them.
    events.onResponse(started(1));
    events.onResponse(response(2, { case: "speechStarted", value: {} }));
    expect(heard.map((each) => each.message.case)).toEqual(["started", "speechStarted"]);
    expect(sent[0]).toMatchObject({ seq: 9n, message: { case: "settings" } });
  });

  test("over another way is looked for without the way back of the first", () => {
    transport = new FakeTransport("websocket", true);
    session = make();
    session.goOn(left);
    expect(transport.last.count).toMatchObject({ seq: 8n, affinity: "" });
  });

  test("is ended in the other page's count where no connection stands any more", () => {
    transport = new FakeTransport();
    session = make();
    session.goOn(left);
    session.leave();
    expect(transport.farewells).toEqual([
      { place: { conversationId: "c", affinity: "a1" }, seq: 8n },
    ]);
  });

  test("is over where the server waits no longer", () => {
    transport = new FakeTransport();
    session = make();
    session.goOn(left);
    const gone = refusal(Code.InvalidArgument, "", "RESUME_HANDLE_INVALID");
    transport.last.events.onEnd(gone);
    expect(ends).toEqual([gone]);
  });
});

describe("a way up of which nothing ever came back", () => {
  let push: FakeTransport;

  function answerPing(): void {
    const ping = transport.last.sent.find((each) => each.message.case === "ping");
    const nonce = ping?.message.case === "ping" ? ping.message.value.nonce : 0n;
    transport.last.events.onResponse(response(0, { case: "pong", value: { nonce } }));
  }

  beforeEach(() => {
    push = new FakeTransport("push");
    fallback = push;
    transport.last.events.onResponse(started(1));
    session.sendText("Hello");
  });

  test("is left for another when it breaks, and what was said goes there", () => {
    transport.last.events.onEnd(refusal(Code.Unavailable, "HTTP 411"));
    clock.pass(300);
    expect(push.last.start.resumeHandle).toBe("handle-1");
    expect(push.last.count.affinity).toBe("a1");
    push.last.events.onResponse(started(0, { resumed: true }));
    expect(said(push.last)).toEqual(["text", "settings"]);
    expect([transport.opened.length, session.transportName, ends]).toEqual([1, "push", []]);
  });

  test("is left when a proxy holds it back, though the way down is alive", () => {
    for (let seq = 2; seq < 10; seq++) {
      clock.pass(900);
      transport.last.events.onResponse(response(seq, { case: "speechStarted", value: {} }));
      transport.last.events.onResponse(response(0, { case: "pong", value: { nonce: 0n } }));
    }
    expect(push.opened).toEqual([]);
    clock.pass(1_500);
    expect(transport.last.state).toBe("aborted");
    push.last.events.onResponse(started(0, { resumed: true }));
    expect([said(push.last), connections]).toEqual([
      ["text", "settings"],
      [false, true],
    ]);
  });

  test("is kept where there is no other", () => {
    fallback = null;
    clock.pass(9_000);
    expect([transport.opened.length, transport.last.state]).toEqual([1, "open"]);
  });

  test.each([0, 20_000])(
    "is kept, after a break as well, once a ping was answered: %i ms",
    (ms) => {
      answerPing();
      for (let passed = 0; passed < ms; passed += 1_000) {
        clock.pass(1_000);
        transport.last.events.onResponse(response(0, { case: "pong", value: { nonce: 0n } }));
      }
      transport.last.events.onEnd(BROKEN);
      clock.pass(300);
      expect([push.opened.length, transport.opened.length]).toEqual([0, 2]);
    },
  );

  test("is not left for a refusal that has a reason", () => {
    transport.last.events.onEnd(refusal(Code.Unavailable, "", "SERVICE_STOPPING"));
    clock.pass(300);
    expect([push.opened.length, transport.opened.length]).toEqual([0, 2]);
  });

  test("is not doubted any more once the session was left", () => {
    session.leave();
    clock.pass(60_000);
    expect(push.opened).toEqual([]);
  });
});

test("an end that is asked for while the connection is lost is said when it is back", () => {
  transport.last.events.onResponse(started(1));
  transport.last.events.onEnd(BROKEN);
  session.finish();
  session.hurry();
  transport.last.events.onResponse(started(1, { resumed: true }));
  expect(said(transport.last)).toContain("finish");
});

describe("a transport on which the start is a message", () => {
  test("counts it, also the first time", () => {
    transport = new FakeTransport("websocket", true);
    session = make();
    session.open();
    expect(transport.last.count.seq).toBe(1n);
    transport.last.events.onResponse(started(1));
    session.sendText("Hi");
    expect(transport.last.sent.at(-1)?.seq).toBe(3n); // behind the first ping
  });
});
