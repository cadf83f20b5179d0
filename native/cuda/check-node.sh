#!/usr/bin/env bash
# Checks steps on a GPU from Node, end to end: builds the addon, the library and the server, runs the Node tests of CUDA
# on the device, and decodes the retail demo on it and on the CPU. To be run in a checkout with its packages installed.
# Exit codes: 0 all is well; 1 something isn't; 77 there is no GPU, or something that this needs is missing.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

skip() {
  echo "check-node: skipped: $1"
  exit 77
}
command -v node > /dev/null || skip 'there is no node'
[ -e node_modules/.bin/vitest ] || skip 'the packages are not installed: npm ci'
# What the driver makes for each device; under WSL it makes another.
compgen -G '/dev/nvidia[0-9]*' > /dev/null || [ -e /dev/dxg ] || skip 'there is no NVIDIA GPU on this machine'
if [ -z "${ESPALIER_CUDA_LIBRARY:-}" ]; then
  command -v nvcc > /dev/null || [ -x "${CUDA_HOME:-${CUDA_PATH:-/usr/local/cuda}}/bin/nvcc" ] ||
    skip 'there is no nvcc, and ESPALIER_CUDA_LIBRARY names no library'
fi

names=()
results=()
failures=0
# What a part prints is shown as it comes, and the table at the end says how it went.
part() {
  local name="$1" begun=$SECONDS
  shift
  echo "== $name"
  if "$@"; then results+=("ok, $((SECONDS - begun)) s"); else
    results+=("FAILED, exit code $?, $((SECONDS - begun)) s")
    failures=$((failures + 1))
  fi
  names+=("$name")
}

part 'build the addon' npm run --silent build:native
part 'the addon is there' test -e build/Release/espalier.node
if [ -z "${ESPALIER_CUDA_LIBRARY:-}" ]; then
  part 'build the library' node scripts/build-cuda.mjs
  export ESPALIER_CUDA_LIBRARY="$PWD/build/cuda/libespalier_cuda.so"
fi
part 'build the server' npm run --silent build
part 'what the server says' env ESPALIER_KERNELS=cuda node dist/cli/main.js --version --verbose
part 'tests on the device' npx vitest run test/kernels/cuda.test.ts
part 'decodes of the demo' npx tsx bench/cuda-decodes.ts

echo
for index in "${!names[@]}"; do printf '%-22s %s\n' "${names[$index]}" "${results[$index]}"; done
if [ "$failures" -gt 0 ]; then
  echo "check-node: $failures parts failed"
  exit 1
fi
echo 'check-node: all is well'
