#!/usr/bin/env bash
# Generates the Go code of the protos: `bash sdk/go/generate.sh FOLDER`, by default the folder lanemeshv1 beside this script.
# Needs protoc with protoc-gen-go and protoc-gen-go-grpc on the PATH.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
protos=$here/../../protos
target=${1:-$here/lanemeshv1}
package=lanemesh/sdk/go/lanemeshv1
mkdir -p "$target"
options=()
files=()
for file in "$protos"/lanemesh/v1/*.proto; do
    name=lanemesh/v1/$(basename "$file")
    files+=("$name")
    options+=("--go_opt=M$name=$package;lanemeshv1" "--go-grpc_opt=M$name=$package;lanemeshv1")
done
# The paths of the output follow the Go package, which lies in the target.
protoc -I"$protos" --go_out="$target" --go-grpc_out="$target" \
    --go_opt="module=$package" --go-grpc_opt="module=$package" "${options[@]}" "${files[@]}"
