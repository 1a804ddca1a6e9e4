import { beforeEach, expect, test, vi } from "vitest";

import { access, histories } from "@/rpc/clients";

import { deletions } from "./conversation-deletions";

beforeEach(() => {
  localStorage.clear();
  deletions.forget();
  vi.spyOn(histories, "deleteConversation").mockRejectedValue(new TypeError("away"));
});

test("decisions that could not be carried out wait for their own account only", async () => {
  const userId = vi.spyOn(access, "userId", "get").mockReturnValue("ana");
  deletions.delete("hers");
  await deletions.settle();
  expect(deletions.states().get("hers")).toBe("failed");
  deletions.forget();
  userId.mockReturnValue("bo");
  await deletions.resume();
  expect(deletions.states().size).toBe(0);
  userId.mockReturnValue("ana");
  await deletions.resume();
  expect(deletions.states().get("hers")).toBe("failed");
});

test("nothing is kept while it is not known whose it is", async () => {
  vi.spyOn(access, "userId", "get").mockReturnValue("");
  deletions.delete("nobody's");
  await deletions.settle();
  expect(localStorage.length).toBe(0);
});
