// Lets Parley open at once, and say in its own words that there is no network.
// Files under /assets carry their content in their name: kept for good, thrown out by age below.
// Pages come from the network where it answers, else from what was seen last. Nothing of a call,
// a recording or an account is ever kept here.
const SHELL = "parley-shell-2";
const ASSETS = "parley-assets-1";
const MOST_ASSETS = 80;

self.addEventListener("install", (event) => {
  event.waitUntil(
    caches
      .open(SHELL)
      .then((cache) => cache.addAll(["/", "/theme.js", "/icon.svg", "/manifest.webmanifest"]))
      .then(() => self.skipWaiting()),
  );
});

self.addEventListener("activate", (event) => {
  const keep = new Set([SHELL, ASSETS]);
  event.waitUntil(
    caches
      .keys()
      .then((names) => Promise.all(names.filter((n) => !keep.has(n)).map((n) => caches.delete(n))))
      .then(() => self.clients.claim()),
  );
});

self.addEventListener("fetch", (event) => {
  const { request } = event;
  const url = new URL(request.url);
  if (request.method !== "GET" || url.origin !== location.origin) return;
  if (url.pathname.startsWith("/assets/")) event.respondWith(asset(request));
  else if (request.mode === "navigate" && isPage(url)) event.respondWith(page(request));
  else if (["/theme.js", "/icon.svg", "/manifest.webmanifest"].includes(url.pathname)) {
    event.respondWith(freshOrKept(request, request));
  }
});

async function asset(request) {
  const cache = await caches.open(ASSETS);
  const kept = await cache.match(request);
  if (kept) return kept;
  const answer = await fetch(request);
  if (answer.ok) {
    await cache.put(request, answer.clone());
    const keys = await cache.keys();
    await Promise.all(keys.slice(0, -MOST_ASSETS).map((old) => cache.delete(old)));
  }
  return answer;
}

// A path with a dot is a file, or a call: a tab may open one, and it is no page of ours.
function isPage(url) {
  return !url.pathname.includes(".");
}

// Every page is the same file.
function page(request) {
  return freshOrKept(request, "/", isHtml);
}

function isHtml(answer) {
  return (answer.headers.get("content-type") ?? "").startsWith("text/html");
}

async function freshOrKept(request, name, worthKeeping = () => true) {
  const cache = await caches.open(SHELL);
  try {
    const answer = await fetch(request);
    if (answer.ok && worthKeeping(answer)) await cache.put(name, answer.clone());
    return answer;
  } catch (error) {
    const kept = await cache.match(name);
    if (kept) return kept;
    throw error;
  }
}
