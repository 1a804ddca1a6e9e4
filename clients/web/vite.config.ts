import { fileURLToPath } from "node:url";

import react from "@vitejs/plugin-react";
import { defineConfig } from "vitest/config";

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));

// Where the developer's server (`npm run dev`) sends what is not the page: a running Parley.
const server = process.env.PARLEY_SERVER ?? "127.0.0.1:8080";
const target = /^https?:/.test(server) ? server : `http://${server}`;

export default defineConfig({
  plugins: [react()],
  resolve: {
    alias: [
      { find: "@parley/stubs", replacement: here("../../gen/typescript/src") },
      { find: /^@\//, replacement: here("./src/") },
    ],
    // The stubs lie outside this folder; one copy of the runtime serves both.
    dedupe: ["@bufbuild/protobuf", "react", "react-dom"],
  },
  build: {
    target: "es2022",
    // Nothing inline: the content security policy allows only files of our own origin.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    manifest: true,
  },
  worker: { format: "es" },
  server: {
    fs: { allow: [here("../..")] },
    proxy: {
      "^/(parley|grpc)\\.": { target, changeOrigin: true, secure: false },
      // As the browser sent it: only a page of the host that is called may open a WebSocket.
      "/ws": { target, ws: true, changeOrigin: false, secure: false },
    },
  },
  test: {
    environment: "jsdom",
    setupFiles: ["./tests/setup.ts"],
    include: ["src/**/*.test.{ts,tsx}", "tests/**/*.test.ts"],
    restoreMocks: true,
    css: false,
  },
});
