// Runs before the first paint; src/app/theme.ts takes over from here.
(function () {
  var chosen = null;
  try {
    chosen = localStorage.getItem("parley.theme");
  } catch {
    // Storage may be forbidden; the system's wish counts then.
  }
  var dark =
    chosen === "dark" || (chosen !== "light" && matchMedia("(prefers-color-scheme: dark)").matches);
  document.documentElement.dataset.theme = dark ? "dark" : "light";
})();
