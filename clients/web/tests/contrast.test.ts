import { readFileSync } from "node:fs";

import { describe, expect, test } from "vitest";

const css = readFileSync("src/styles/tokens.css", "utf8");
const [light = "", dark = ""] = css.split(':root[data-theme="dark"]');

function colours(block: string): Map<string, string> {
  return new Map(
    [...block.matchAll(/--([a-z-]+):\s*(#[0-9a-f]{6})/g)].map(([, name = "", value = ""]) => [
      name,
      value,
    ]),
  );
}

/** Relative luminance (WCAG 2.2). */
function luminance(hex: string): number {
  const [r = 0, g = 0, b = 0] = [1, 3, 5].map((at) => {
    const c = parseInt(hex.slice(at, at + 2), 16) / 255;
    return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

function contrast(a: string, b: string): number {
  const [high = 0, low = 0] = [luminance(a), luminance(b)].sort((x, y) => y - x);
  return (high + 0.05) / (low + 0.05);
}

const GROUNDS = ["ground", "raised", "sunk"];
const TEXT = ["ink", "ink-soft", "ink-faint", "tutor", "learner", "note", "danger"];
const PAIRS: readonly (readonly [string, string])[] = [
  ...TEXT.flatMap((text) => GROUNDS.map((ground) => [text, ground] as const)),
  ["on-tutor", "tutor"],
  ["on-tutor", "tutor-strong"],
  ["on-learner", "learner"],
  ["tutor-strong", "tutor-soft"],
  ["learner-strong", "learner-soft"],
  ["note", "note-soft"],
  ["ink-soft", "note-soft"],
  ["ink-soft", "danger-soft"],
  ["danger", "danger-soft"],
  ["ink-soft", "tutor-soft"],
  ["ground", "ink"],
];

describe.each([
  ["light", colours(light)],
  ["dark", colours(dark)],
])("in the %s theme", (_name, theme) => {
  test.each(PAIRS)("%s on %s has a contrast of at least 4.5", (text, ground) => {
    expect(contrast(theme.get(text) ?? "#000000", theme.get(ground) ?? "#000000")).toBeGreaterThan(
      4.5,
    );
  });

  test.each(GROUNDS)("the outline of a control on %s has at least 3", (ground) => {
    const line = theme.get("line-strong") ?? "#000000";
    expect(contrast(line, theme.get(ground) ?? "#000000")).toBeGreaterThan(3);
  });
});
