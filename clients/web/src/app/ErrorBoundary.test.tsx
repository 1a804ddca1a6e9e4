import { render, screen } from "@testing-library/react";
import { beforeEach, expect, test, vi } from "vitest";

import { ErrorBoundary } from "./ErrorBoundary";

function Breaks({ why }: { readonly why: string }): never {
  throw new Error(why);
}

beforeEach(() => {
  vi.spyOn(console, "error").mockImplementation(() => undefined);
});

test.each([
  "Failed to fetch dynamically imported module: https://localhost/assets/HistoryPage.js",
  "error loading dynamically imported module",
  "Importing a module script failed.",
  "Unable to preload CSS for /assets/Skeleton.css",
])("a page whose files cannot be had says so, in any browser's words: %s", (why) => {
  render(
    <ErrorBoundary>
      <Breaks why={why} />
    </ErrorBoundary>,
  );
  expect(screen.getByRole("alert")).toHaveTextContent("This page could not be loaded.");
  expect(screen.getByRole("button", { name: "Reload the page" })).toBeInTheDocument();
});

test("a page with a fault in it says that it broke, and keeps what stands around it", () => {
  render(
    <main>
      <nav>Pages</nav>
      <ErrorBoundary>
        <Breaks why="undefined is not a function" />
      </ErrorBoundary>
    </main>,
  );
  expect(screen.getByRole("alert")).toHaveTextContent("This page broke.");
  expect(screen.getByText("Pages")).toBeInTheDocument();
});
