import { defineConfig } from "vitest/config";

export default defineConfig({
  resolve: { alias: { "lanemesh/browser": "/src/browser/index.ts", lanemesh: "/src/index.ts" } },
  test: {
    include: ["tests/**/*.test.ts"],
    testTimeout: 30_000,
    hookTimeout: 120_000,
    fileParallelism: false,
  },
});
