import { defineConfig } from "vitest/config";

export default defineConfig({
  resolve: { alias: { "lanemesh/browser": "/src/browser/index.ts", lanemesh: "/src/index.ts" } },
  test: {
    include: ["tests/**/*.test.ts"],
    globalSetup: ["tests/global.ts"],
    testTimeout: 60_000,
    expect: { poll: { timeout: 20_000 } },
    hookTimeout: 120_000,
    fileParallelism: false,
  },
});
