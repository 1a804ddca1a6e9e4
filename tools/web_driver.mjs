// Builds clients/web/tests/driver.ts as the page itself is built, into the folder that is named.
// Run in clients/web, whose packages it takes.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [, , target] = process.argv;
const { resolve } = createRequire(`${process.cwd()}/package.json`);
const { build } = await import(pathToFileURL(resolve("vite")).href);

await build({
  logLevel: "warn",
  build: {
    outDir: target,
    emptyOutDir: false,
    manifest: false,
    copyPublicDir: false,
    rollupOptions: {
      input: "tests/driver.ts",
      output: { entryFileNames: "driver.js", chunkFileNames: "driver-[hash].js" },
    },
  },
});
