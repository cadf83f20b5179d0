#!/usr/bin/env bash
# Builds libespalier_cuda.so and the programs that check and time it with nvcc alone, where CMake may be missing.
#   bash native/cuda/check/build.sh FOLDER
# What it makes is what native/cuda/CMakeLists.txt makes, with the same flags. Files that are up to date are left.
set -euo pipefail
root=$(cd "$(dirname "$0")/../../.." && pwd)
cd "$root"
folder=$1
objects=$folder/objects
mkdir -p "$objects"
jobs=$(nproc 2>/dev/null || echo 2)

common=(-std=c++17 -O3 -DNDEBUG)
architectures=(-gencode "arch=compute_80,code=sm_80" -gencode "arch=compute_90,code=[sm_90,compute_90]")
warnings=-Wall,-Wextra,-Wshadow
avx2=-mavx2,-mfma,-mf16c,-mbmi,-mbmi2,-mlzcnt,-mpopcnt
avx512=$avx2,-mavx512f,-mavx512bw,-mavx512dq,-mavx512vl,-mavx512vbmi,-mavx512vbmi2,-mavx512vpopcntdq

object_of() {
  local name=${1#native/}
  echo "$objects/${name//\//_}.o"
}

# One source file to its object file; prints what the compiler said only where it failed.
compile() {
  local source=$1 object host=-fPIC,$warnings
  object=$(object_of "$source")
  if [ -f "$object" ] && [ -z "$(find native -newer "$object" -type f -print -quit)" ]; then return 0; fi
  case $source in
    */levels/avx2.cpp) [ "$(uname -m)" = x86_64 ] && host=$host,$avx2 ;;
    # GCC 12 warns of its own header's intrinsics.
    */levels/avx512.cpp) [ "$(uname -m)" = x86_64 ] && host=$host,$avx512,-Wno-uninitialized,-Wno-maybe-uninitialized ;;
    # A score is rounded after each operation, as in the kernels.
    native/cuda/check/*) host=$host,-ffp-contract=off ;;
  esac
  local flags=()
  # The host side of a .cu file is generated code, in which names do hide names.
  [[ $source == *.cu ]] && flags=("${architectures[@]}" -Werror all-warnings) && host=-fPIC,-Wall,-Wextra
  local start=$SECONDS
  if ! nvcc "${common[@]}" "${flags[@]}" -Xcompiler "$host" -c "$source" -o "$object.part" >"$object.log" 2>&1; then
    cat "$object.log" >&2
    echo "build: $source failed" >&2
    return 1
  fi
  mv "$object.part" "$object"
  echo "build: $source, $((SECONDS - start)) s"
}

library=(native/cpu/*.cpp native/cpu/levels/*.cpp native/cuda/*.cpp native/cuda/*.cu)
check=(native/cuda/check/{check,decode_case,uploads}.cpp)
table=(native/cuda/check/{time,catalog,measurement}.cpp native/cuda/baselines/*.cpp native/cuda/baselines/*.cu)

# The kernels first: they take longest.
sources=(native/cuda/*.cu "${table[@]}" "${check[@]}" native/cpu/levels/*.cpp native/cpu/*.cpp native/cuda/*.cpp)
running=()
for source in "${sources[@]}"; do
  while [ "$(jobs -rp | wc -l)" -ge "$jobs" ]; do wait -n || true; done
  compile "$source" &
  running+=($!)
done
for one in "${running[@]}"; do wait "$one"; done

objects_of() {
  local source
  for source in "$@"; do object_of "$source"; done
}
mapfile -t parts < <(objects_of "${library[@]}")
nvcc -shared -cudart static "${parts[@]}" -o "$folder/libespalier_cuda.so" \
  -Xlinker --version-script=native/cuda/exports.map -Xlinker --no-undefined -lpthread
link() {
  local program=$1
  shift
  mapfile -t parts < <(objects_of "$@")
  nvcc -cudart static "${parts[@]}" -o "$folder/$program" -L "$folder" -lespalier_cuda -Xlinker '-rpath=$ORIGIN' -lpthread
}
link cuda_check "${check[@]}"
link cuda_time "${table[@]}"
echo "build: $folder/libespalier_cuda.so, cuda_check and cuda_time"
