import { type MessageInitShape, create } from "@bufbuild/protobuf";
import {
  type ConverseResponse,
  ConverseResponseSchema,
  ReplyKind,
} from "@parley/stubs/parley/conversation/v1/conversation_pb";
import { CorrectionKind } from "@parley/stubs/parley/types/v1/feedback_pb";
import { ReplyEndReason } from "@parley/stubs/parley/types/v1/turn_pb";
import { describe, expect, test } from "vitest";

import { NEW_SESSION, type SessionView, currentTurn, replyText } from "./session-view";
import { type Event, reduce } from "./view";

type Message = NonNullable<MessageInitShape<typeof ConverseResponseSchema>["message"]>;

let seq = 0n;

function server(message: Message, { turn = 1, generation = 0 } = {}): ConverseResponse {
  return create(ConverseResponseSchema, {
    seq: ++seq,
    turn,
    generation: BigInt(generation),
    message,
  });
}

const started = server({ case: "started", value: { conversationId: "c", engine: "local" } });

function heardSay(text: string, final: boolean, turn = 1) {
  const transcript = { verbatim: text };
  return server({ case: "transcript", value: { transcript, final, endMs: 900n } }, { turn });
}

function begin(generation: number, turn = 1, kind = ReplyKind.ANSWER) {
  return server({ case: "replyStarted", value: { kind } }, { turn, generation });
}

function words(generation: number, text: string, times: [string, number][]) {
  const list = times.map(([word, startMs]) => ({ text: word, startMs }));
  return server({ case: "replyText", value: { text, words: list } }, { generation });
}

function end(generation: number, reason: ReplyEndReason, heardText: string, heardMs = 0) {
  return server({ case: "replyEnded", value: { reason, heardText, heardMs } }, { generation });
}

function after(...events: Event[]): SessionView {
  return events.reduce(reduce, NEW_SESSION);
}

const answered = [
  started,
  heardSay("I like", false),
  heardSay("I like tea.", true),
  begin(1),
  words(1, "Me too! ", [
    ["Me", 0],
    ["too!", 300],
  ]),
];

describe("who has the floor", () => {
  test.each<[string, Event[], SessionView["floor"]]>([
    ["before the session is open: nobody", [], "connecting"],
    ["at the beginning: the learner", [started], "listening"],
    ["when the learner begins", [started, server({ case: "speechStarted", value: {} })], "learner"],
    ["when the words are final: thinking", answered.slice(0, 3), "thinking"],
    [
      "when the answer sounds: the tutor",
      [...answered, { kind: "sounded", generation: 1, silenceMs: 500 }],
      "tutor",
    ],
    [
      "speech over an answer is the server's to judge",
      [
        ...answered,
        { kind: "sounded", generation: 1, silenceMs: 500 },
        server({ case: "speechStarted", value: {} }, { turn: 2 }),
      ],
      "tutor",
    ],
    [
      "a possible interruption holds it",
      [...answered, server({ case: "replyPaused", value: {} }, { generation: 1 })],
      "held",
    ],
    [
      "a false one gives it back",
      [
        ...answered,
        server({ case: "replyPaused", value: {} }, { generation: 1 }),
        server({ case: "replyResumed", value: {} }, { generation: 1 }),
      ],
      "tutor",
    ],
    [
      "when the answer is over: the learner",
      [...answered, end(1, ReplyEndReason.COMPLETED, "Me too!")],
      "listening",
    ],
    [
      "without a connection",
      [...answered, { kind: "connection", connected: false }],
      "reconnecting",
    ],
    ["what was typed is thought about", [started, { kind: "typed", text: "Hi" }], "thinking"],
    [
      "an end stays the end",
      [
        started,
        server({ case: "ended", value: { summary: { turns: 1 } } }),
        { kind: "connection", connected: true },
      ],
      "ended",
    ],
  ])("%s", (_promise, events, floor) => {
    expect(after(...events).floor).toBe(floor);
  });
});

describe("turns", () => {
  test("words light up one by one: each has its own time", () => {
    expect(currentTurn(after(...answered))?.words).toEqual([
      { text: "Me", startMs: 0 },
      { text: " too! ", startMs: 300 },
    ]);
  });

  test("words that do not make up the text are shown as one stretch", () => {
    const view = after(started, begin(1), words(1, "Me too!", [["Other", 5]]));
    expect(currentTurn(view)?.words).toEqual([{ text: "Me too!", startMs: 0 }]);
  });

  test("a partial transcript never replaces a final one", () => {
    const view = after(started, heardSay("I like tea.", true), heardSay("I like", false));
    expect(currentTurn(view)?.utterance).toBe("I like tea.");
  });

  test("a “mhm” that is no turn is taken back, and the tutor keeps the floor", () => {
    const view = after(
      ...answered,
      { kind: "sounded", generation: 1, silenceMs: 500 },
      heardSay("Mhm.", false, 2),
      heardSay("", true, 2),
    );
    expect(view.turns.map(({ number }) => number)).toEqual([1]);
    expect(view.floor).toBe("tutor");
  });

  test("a cough into the silence gives the floor back", () => {
    const spoke = server({ case: "speechStarted", value: {} });
    const view = after(started, spoke, heardSay("Hm", false), heardSay("", true));
    expect(view.turns).toEqual([]);
    expect(view.floor).toBe("listening");
  });

  test("words taken back of a turn with a reply leave the reply", () => {
    const turn = currentTurn(after(...answered, heardSay("", true)));
    expect(turn).toMatchObject({ utterance: "", utteranceFinal: false, generation: 1 });
  });

  test("words that became no turn stand neither before a hint nor in a talk that is over", () => {
    const heard = after(...answered, heardSay("Mhm.", false, 2));
    const hinted = reduce(heard, begin(2, 2, ReplyKind.HINT));
    expect(currentTurn(hinted)).toMatchObject({ number: 2, utterance: "", kind: "hint" });
    const numbers = (event: Event) => reduce(heard, event).turns.map(({ number }) => number);
    expect(numbers({ kind: "over" })).toEqual([1]);
    expect(numbers(server({ case: "ended", value: {} }))).toEqual([1]);
  });

  test("output of an older generation changes nothing", () => {
    const view = after(...answered, begin(2));
    expect(reduce(view, words(1, "late", [["late", 0]]))).toBe(view);
    expect(reduce(view, end(1, ReplyEndReason.COMPLETED, "late"))).toBe(view);
    expect(reduce(view, { kind: "sounded", generation: 1, silenceMs: 1 })).toBe(view);
  });

  test("a new attempt at a reply starts from nothing", () => {
    const turn = currentTurn(after(...answered, begin(2)));
    expect(turn).toMatchObject({ generation: 2, words: [], heardMs: 0, utterance: "I like tea." });
  });

  test("an interrupted reply is what was heard, by the server's word", () => {
    const view = after(...answered, end(1, ReplyEndReason.INTERRUPTED, "Me", 250));
    expect(currentTurn(view)).toMatchObject({ end: "interrupted", heardText: "Me", heardMs: 250 });
  });

  test("what was heard only grows", () => {
    const later = { kind: "played", generation: 1, audioMs: 400 } as const;
    const earlier = { kind: "played", generation: 1, audioMs: 200 } as const;
    expect(currentTurn(after(...answered, later, earlier))?.heardMs).toBe(400);
  });

  test("corrections come to the turn that they are about, however late", () => {
    const view = after(
      ...answered,
      server({ case: "turnSaved", value: { turnId: "t1", number: 1 } }),
      begin(2, 2),
      server({
        case: "feedback",
        value: {
          turnId: "t1",
          feedback: {
            corrections: [
              {
                correctionId: "k",
                kind: CorrectionKind.VOCABULARY,
                original: "tea",
                replacement: "a tea",
                firstWord: 2,
                endWord: 3,
              },
            ],
          },
        },
      }),
    );
    expect(view.turns[0]?.corrections).toMatchObject([
      { kind: "vocabulary", replacement: "a tea" },
    ]);
    expect(view.turns[1]?.corrections).toEqual([]);
  });

  test("a typed line opens the next turn, which the server then numbers the same", () => {
    const view = after(
      ...answered,
      end(1, ReplyEndReason.COMPLETED, "Me too!"),
      { kind: "typed", text: "And coffee?" },
      heardSay("And coffee?", true, 2),
    );
    expect(view.turns.map((each) => [each.number, each.utterance])).toEqual([
      [1, "I like tea."],
      [2, "And coffee?"],
    ]);
  });

  test("a resumed session goes on in the middle of a reply", () => {
    const resumed = server({ case: "started", value: { conversationId: "c", resumed: true } });
    const view = after(...answered, { kind: "connection", connected: false }, resumed);
    expect(view.floor).toBe("tutor");
    expect(view.turns.map(replyText)).toEqual(["Me too!"]);
  });
});

describe("notices", () => {
  test("the newest two are shown, the same one once, and each can be taken away", () => {
    const notice = (code: number) => server({ case: "notice", value: { status: { code } } });
    let view = after(started, notice(4), notice(14), notice(14), notice(13));
    expect(view.notices).toHaveLength(2);
    view = reduce(view, { kind: "dismissed", id: view.notices[0]?.id ?? 0 });
    expect(view.notices).toHaveLength(1);
  });
});

test("a talk that is over leaves no answer half said: it stopped where it was heard last", () => {
  const played: Event = { kind: "played", generation: 1, audioMs: 250 };
  const over = after(...answered, played, { kind: "over" });
  expect(over.floor).toBe("ended");
  expect(currentTurn(over)).toMatchObject({ end: "session-ended", heardText: "Me" });
  const whole = after(...answered, end(1, ReplyEndReason.COMPLETED, "Me too!"), { kind: "over" });
  expect(currentTurn(whole)).toMatchObject({ end: "completed" });
});
