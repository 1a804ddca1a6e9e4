import { expect, test } from "vitest";

import { serverErrors, signInErrors, signUpErrors } from "./form";

test.each([
  ["", "Choose"],
  ["ab", "longer"],
  ["ana maria", "spaces"],
  ["ana!", "only"],
  [".ana", "Begin"],
  ["a".repeat(65), "long"],
])("a name that the server would refuse is told beforehand: %j", (name, part) => {
  expect(signUpErrors(name, "long enough").username).toContain(part);
});

test.each(["ana", "Ana.María", "ana@example.org", "李小龙", "नमस्ते"])(
  "%s is a fine name",
  (name) => {
    expect(signUpErrors(name, "long enough")).toEqual({});
  },
);

test("a password is measured in characters, and may hold anything", () => {
  expect(signUpErrors("ana", "short").password).toContain("8");
  expect(signUpErrors("ana", "😀😀😀😀").password).toContain("8");
  expect(signUpErrors("ana", "пароль 12 ¿?").password).toBeUndefined();
});

test("signing in asks only for something to send", () => {
  expect(signInErrors("a", "b")).toEqual({});
  expect(Object.keys(signInErrors("", ""))).toEqual(["username", "password"]);
});

test("what the server finds wrong stands at its field", () => {
  expect(serverErrors({ username: "must have 3 to 64 characters" })).toEqual({
    username: "It must have 3 to 64 characters.",
  });
});
