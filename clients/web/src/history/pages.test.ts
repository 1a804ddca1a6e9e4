import { expect, test } from "vitest";

import type { Problem } from "@/rpc/problem";

import { type Paged, type PagedStep, emptyPaged, nextPaged } from "./pages";

const key = (item: string) => item;
const run = (from: Paged<string>, ...steps: PagedStep<string>[]) =>
  steps.reduce((state, step) => nextPaged(state, step, key), from);
const came = (
  items: string,
  nextToken: string,
  as: "first" | "next" | "refreshed",
): PagedStep<string> => ({ kind: "came", page: { items: items.split(""), nextToken }, as });
const PROBLEM: Problem = {
  title: "x",
  advice: "",
  wayOn: "retry",
  retryAfterMs: 0,
  fields: {},
  detail: "",
};

test("pages join in order, and what moved into a later one stands once", () => {
  const list = run(emptyPaged(), came("abc", "t", "first"), came("cde", "", "next"));
  expect(list.items.join("")).toBe("abcde");
  expect(list.nextToken).toBe("");
});

test("a page that failed leaves what is there, and can be asked for again", () => {
  const list = run(
    emptyPaged(),
    came("ab", "t", "first"),
    { kind: "asked" },
    {
      kind: "failed",
      problem: PROBLEM,
    },
  );
  expect([list.items.join(""), list.nextToken, list.pending]).toEqual(["ab", "t", false]);
  expect(list.problem).toBe(PROBLEM);
  expect(run(list, { kind: "asked" }).problem).toBeNull();
});

test("a first page that comes again keeps the later ones where it meets them", () => {
  const list = run(emptyPaged(), came("bcd", "t", "first"), came("efg", "u", "next"));
  // One is new, one was deleted elsewhere.
  const fresh = run(list, came("abd", "t2", "refreshed"));
  expect([fresh.items.join(""), fresh.nextToken]).toEqual(["abdefg", "u"]);
});

test("a first page that does not meet what was there replaces it", () => {
  const list = run(emptyPaged(), came("bcd", "t", "first"));
  const fresh = run(list, came("xyz", "t2", "refreshed"));
  expect([fresh.items.join(""), fresh.nextToken]).toEqual(["xyz", "t2"]);
});

test("another list replaces the one before, wherever they meet", () => {
  const list = run(emptyPaged(), came("bcd", "t", "first"), came("ef", "u", "next"));
  expect(run(list, came("d", "", "first")).items).toEqual(["d"]);
});
