#!/usr/bin/env bash
# Builds the examples in C++ and tests them: `make cpp`. Debian's packages are installed if they are missing, which wants root; where that
# fails, the check says so and is skipped. The first argument is what is done: "test" (default), or "build" for the programs in build/cpp.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
build=$root/build/cpp
command=${1:-test}
packages=(g++ make cmake pkg-config libgrpc++-dev libprotobuf-dev protobuf-compiler protobuf-compiler-grpc)

is_complete() {
    command -v g++ make cmake pkg-config protoc grpc_cpp_plugin >/dev/null && pkg-config --exists grpc++ protobuf
}

if ! is_complete; then
    echo "==> Installing Debian's packages of C++: ${packages[*]}"
    if ! (apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}") \
        >"${TMPDIR:-/tmp}/lanemesh-cpp-install.log" 2>&1 || ! is_complete; then
        echo "SKIPPED: the examples in C++ are not checked, because their Debian packages cannot be installed:"
        tail -n 3 "${TMPDIR:-/tmp}/lanemesh-cpp-install.log"
        exit 0
    fi
fi

echo "==> Building sdk/cpp"
mkdir -p "$build"
{ cmake -S "$here" -B "$build" -DCMAKE_BUILD_TYPE=Debug -DCMAKE_CXX_FLAGS_DEBUG=-O0 && cmake --build "$build" --parallel 2; } >"$build/build.log" 2>&1 || { tail -n 40 "$build/build.log"; exit 1; }
[ "$command" != build ] || exit 0

echo "==> Unit tests"
"$build/json_text_test"
"$build/item_json_test"

echo "==> Clients and node servers in C++ and Python"
"$root/.venv/bin/python" "$here/check_mesh.py" "$build"

if "$root/.venv/bin/lanemesh" conformance --help >/dev/null 2>&1; then
    echo "==> lanemesh conformance"
    coproc server { exec "$build/node_server" --conformance; }
    pid=$server_PID
    trap 'kill "$pid" 2>/dev/null || true' EXIT
    read -r -u "${server[0]}" line
    "$root/.venv/bin/lanemesh" conformance "${line##* }" --level L0 --quick >"$build/conformance.log" 2>&1 || { cat "$build/conformance.log"; exit 1; }
    tail -n 1 "$build/conformance.log"
fi
