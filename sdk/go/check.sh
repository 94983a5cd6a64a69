#!/usr/bin/env bash
# Builds, checks and tests the Go package: `make go`. Debian's packages are installed if they are missing, which wants root; where that
# fails, the check says so and is skipped. Debian has its Go libraries as sources under /usr/share/gocode, so the package is built by
# GOPATH, without modules. The first argument is what is done: "test" (default), or "build" for the example programs in build/go/bin.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
command=${1:-test}
packages=(golang-go golang-google-grpc-dev golang-github-golang-protobuf-1-5-dev protoc-gen-go-1-5 protoc-gen-go-grpc protobuf-compiler)

is_complete() {
    command -v go protoc protoc-gen-go protoc-gen-go-grpc >/dev/null && [ -d /usr/share/gocode/src/google.golang.org/grpc ]
}

if ! is_complete; then
    echo "==> Installing Debian's packages of Go: ${packages[*]}"
    if ! (apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}") \
        >"${TMPDIR:-/tmp}/lanemesh-go-install.log" 2>&1 || ! is_complete; then
        echo "SKIPPED: Go is not checked, because its Debian packages cannot be installed:"
        tail -n 3 "${TMPDIR:-/tmp}/lanemesh-go-install.log"
        exit 0
    fi
fi

workspace=$root/build/go
package=$workspace/src/lanemesh/sdk/go
export GO111MODULE=off GOPATH=$workspace:/usr/share/gocode GOCACHE=$workspace/cache GOFLAGS="" CGO_ENABLED=0
mkdir -p "$package" "$workspace/bin"
find "$package" -mindepth 1 -maxdepth 1 ! -name lanemeshv1 -exec rm -rf {} +
(cd "$here" && tar cf - --exclude=./lanemeshv1 .) | tar xf - -C "$package"

wanted=$(cat "$root"/protos/lanemesh/v1/*.proto "$here/generate.sh" | cksum)
if [ "$(cat "$workspace/generated" 2>/dev/null)" != "$wanted" ]; then
    echo "==> Generating the Go code of the protos"
    rm -rf "$package/lanemeshv1"
    bash "$here/generate.sh" "$package/lanemeshv1"
    printf '%s\n' "$wanted" >"$workspace/generated"
fi

cd "$package"
echo "==> go build"
for program in node toolserver client bench matrix; do
    go build -o "$workspace/bin/$program" "./examples/$program"
done
[ "$command" != build ] || exit 0

echo "==> gofmt, go vet"
unformatted=$(gofmt -l "$here" | grep -v /lanemeshv1/ || true)
[ -z "$unformatted" ] || { echo "Not formatted by gofmt: $unformatted"; exit 1; }
# The programs in the README are built too.
rm -rf readme
awk '/^```go$/ {n++; folder = "readme/" n; system("mkdir -p " folder); file = folder "/main.go"; next}
     /^```$/ {file = ""} file {print > file}' README.md
go vet $(go list ./... | grep -v /lanemeshv1)

echo "==> go test"
LANEMESH=$root/.venv/bin/lanemesh LANEMESH_NODES=$root/tests/matrix/nodes.py go test -count=1 ./ ./node ./meshtest

if "$root/.venv/bin/lanemesh" conformance --help >/dev/null 2>&1; then
    echo "==> lanemesh conformance"
    coproc server { exec "$workspace/bin/node" -conformance -until-stdin-closes; }
    trap 'kill "$server_PID" 2>/dev/null || true' EXIT
    read -r -u "${server[0]}" line
    "$root/.venv/bin/lanemesh" conformance "${line##* }" --level L2 ${LANEMESH_CONFORMANCE:---quick} | tee "$workspace/conformance.log" | tail -n 3
fi
