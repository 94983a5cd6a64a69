#!/usr/bin/env bash
# Checks and tests the TypeScript package: `make typescript`. Arguments go to vitest, but for "generate" and "matrix". Without Node.js 20
# or its packages it is skipped, with the reason.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

skip() {
    printf '==> SKIPPED: the checks of the TypeScript package: %s\n' "$1"
    exit 0
}

command -v npm >/dev/null || skip "there is no npm here; install Node.js 20 or newer"
major=$(node --version | sed 's/^v\([0-9]*\).*/\1/')
[ "$major" -ge 20 ] || skip "Node.js is $(node --version); 20 or newer is needed"
if [ ! -e node_modules/.package-lock.json ] || [ package-lock.json -nt node_modules/.package-lock.json ]; then
    echo "==> Installing the packages of the TypeScript package (about 250 MB, once)"
    npm ci --no-audit --no-fund --ignore-scripts --loglevel=error || skip "npm cannot install its packages"
    touch node_modules/.package-lock.json
fi
if [ "${1:-}" = matrix ]; then # the programs of `make matrix`
    npm run --silent matrix
    exit 0
fi

generated=../../build/typescript
../../.venv/bin/python third_party.py "$generated/third_party.binpb"
if [ "${1:-}" = generate ]; then
    npm run --silent generate
    exit 0
fi
echo "==> Comparing src/gen with what the protos give"
npm run --silent generate -- --output "$generated"
diff -r src/gen "$generated/src/gen" || {
    echo "The code is not that of the protos: run 'make typescript-gen' and commit the result."
    exit 1
}
echo "==> biome, tsc"
npm run --silent lint
npm run --silent types
npm run --silent build
echo "==> Running the tests of the TypeScript package"
npm run --silent test -- "$@"
