#!/usr/bin/env bash
# Builds, checks and times the CUDA library on this machine, which needs a GPU, nvcc, a C++ compiler and python3; neither
# Node nor a network. Ends within eight minutes.
#   bash native/cuda/check.sh [--quick] [--cases N] [--seed N] [--only PARTS] [--built FOLDER] [--limit SECONDS]
#   bash native/cuda/check.sh --emulated [--cases N] [--built FOLDER]
# --quick      the table on a catalog of a million, on which the marks aren't judged
# --only       some of build,check,sanitize,table,wrapper,torch, by commas
# --built      takes the library and the programs from there
# --limit      all parts end within so many seconds, by default 465; one that is stopped keeps what it has measured
# --emulated   the same programs against the library's twin on the CPU, with few cases; times nothing; needs CMake, no nvcc
# Results go to $OUT, or build/cuda/check. The exit code is 0 where no part has failed; a part that can't run here says so.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 2

is_emulated=0
quick=0
cases=
seed=
only=build,check,sanitize,table,wrapper,torch
built=
limit=465
while [ $# -gt 0 ]; do
  case $1 in
    --emulated) is_emulated=1 ;;
    --quick) quick=1 ;;
    --cases | --seed | --only | --built | --limit)
      [ $# -ge 2 ] || { echo "check.sh: $1 needs a value" >&2; exit 2; }
      case $1 in
        --cases) cases=$2 ;;
        --seed) seed=$2 ;;
        --only) only=$2 ;;
        --built) built=$2 ;;
        --limit) limit=$2 ;;
      esac
      shift
      ;;
    *) echo "check.sh: unknown option $1" >&2; exit 2 ;;
  esac
  shift
done
for number in "$cases" "$seed" "$limit"; do
  case $number in *[!0-9]*) echo "check.sh: expected a number, found $number" >&2; exit 2 ;; esac
done

out=${OUT:-build/cuda/check}
mkdir -p "$out" || exit 2
rm -f "$out"/{parts.tsv,cuda.json,time.json,torch.json,check.txt,clocks.csv}
: >"$out/parts.tsv"
# All ends by then, whatever a part would still like to do.
deadline=$((SECONDS + limit))
# The emulated ones are built where scripts/build-cuda.mjs builds them, and alike.
folder=${built:-build/$([ $is_emulated = 1 ] && echo cuda-emulated || echo cuda/nvcc)}
library=$folder/libespalier_cuda$([ $is_emulated = 1 ] && echo _emulated).so
python=${PYTHON:-python3}

note() { printf '%s\t%s\t%s\t%s\n' "$1" "$2" "$3" "$4" >>"$out/parts.tsv"; }
wanted() { case ",$only," in *",$1,"*) return 0 ;; *) return 1 ;; esac; }

# What parts need at least: those before leave them so much.
declare -A least=([check]=50 [sanitize]=40 [table]=90 [wrapper]=0 [torch]=75)
# later NAME: what the wanted parts after it need.
later() {
  local sum=0 is_after=0 name
  for name in build check sanitize table wrapper torch; do
    [ $is_after = 1 ] && wanted "$name" && sum=$((sum + least[$name]))
    [ "$name" = "${1%%-*}" ] && is_after=1
  done
  echo $sum
}

# part NAME SECONDS COMMAND...: runs it within its seconds and what is left of all, and notes what became of it. In the
# command, @seconds is after how many it should begin nothing new, to end by itself.
part() {
  local name=$1 seconds=$2 start=$SECONDS left code margin
  shift 2
  left=$((deadline - SECONDS - $(later "$name")))
  [ "$seconds" -gt "$left" ] && seconds=$left
  margin=$((seconds > 60 ? 15 : seconds / 8 + 1))
  set -- "${@//@seconds/$((seconds - margin))}"
  if [ "$seconds" -lt 5 ]; then
    echo "== $name: no time left"
    note "$name" 1 0 "no time left"
    return 1
  fi
  echo "== $name (at most $seconds s)"
  timeout -k 5 "$seconds" "$@" 2>&1 | tee "$out/$name.txt"
  code=${PIPESTATUS[0]}
  local said=
  [ "$code" = 124 ] || [ "$code" = 137 ] && said="stopped after $seconds s"
  [ "$code" = 0 ] && said=$(grep -m1 '^skipped: ' "$out/$name.txt") && code=77
  note "$name" "$code" $((SECONDS - start)) "$said"
  [ "$code" = 0 ]
}
skip() {
  echo "== $1: skipped: $2"
  note "$1" 77 0 "$2"
}

build_all() {
  if [ $is_emulated = 1 ]; then
    cmake -S native -B "$folder" -DCMAKE_BUILD_TYPE=None -DCMAKE_CXX_FLAGS=-O1 >/dev/null && cmake --build "$folder" -j "$(nproc)" --target espalier_cuda_emulated cuda_check cuda_time
  else
    bash native/cuda/check/build.sh "$folder"
  fi
}
export -f build_all
export is_emulated folder

if wanted build && [ -z "$built" ]; then
  if [ $is_emulated = 0 ] && ! command -v nvcc >/dev/null; then
    echo "check.sh: nvcc was not found: add the CUDA toolkit's bin to PATH" >&2
    exit 2
  fi
  part build 200 bash -c build_all
fi
for file in "$library" "$folder/cuda_check" "$folder/cuda_time"; do
  [ -e "$file" ] && continue
  [ -s "$out/parts.tsv" ] || note build 1 0 "$file is missing"
  only=
done

if wanted check; then
  if [ $is_emulated = 1 ]; then
    arguments=(--cases "${cases:-20}" --small 1 --uploads 5 --seconds @seconds)
  else
    arguments=(--cases "${cases:-2000}" --seconds @seconds)
  fi
  [ -n "$seed" ] && arguments+=(--seed "$seed")
  part check 125 "$folder/cuda_check" "${arguments[@]}"
fi

if wanted sanitize; then
  if [ $is_emulated = 1 ]; then
    skip sanitize "emulated"
  elif ! command -v compute-sanitizer >/dev/null; then
    skip sanitize "compute-sanitizer was not found"
  else
    for tool in memcheck racecheck; do
      part "sanitize-$tool" 45 compute-sanitizer --tool "$tool" --error-exitcode 9 "$folder/cuda_check" --small 1 --cases 8 --uploads 3 --seconds @seconds --seed "${seed:-1}"
    done
  fi
fi

if wanted table; then
  sampler=
  if [ $is_emulated = 0 ] && command -v nvidia-smi >/dev/null; then
    nvidia-smi --query-gpu=clocks.sm,clocks.mem,power.draw,temperature.gpu --format=csv,noheader -i 0 -lms 500 >"$out/clocks.csv" 2>/dev/null &
    sampler=$!
  fi
  part table 150 "$folder/cuda_time" --out "$out/time.json" --seconds @seconds --quick $quick
  [ -n "$sampler" ] && kill "$sampler" 2>/dev/null
fi

if wanted wrapper; then
  if [ $is_emulated = 1 ]; then
    part wrapper 60 "$python" examples/torch/test_espalier_cuda.py "$library"
  else
    skip wrapper "its test runs with --emulated; compare.py uses it here"
  fi
fi

if wanted torch; then
  if [ $is_emulated = 1 ]; then
    part torch 60 "$python" examples/torch/compare.py --library "$library" --out "$out/torch.json" --emulated
  else
    rows=$([ $quick = 1 ] && echo 1000000 || echo 20000000)
    part torch 110 "$python" examples/torch/compare.py --library "$library" --out "$out/torch.json" --rows "$rows" --seconds @seconds
  fi
fi

commit=$(git rev-parse HEAD 2>/dev/null || echo unknown)
[ -n "$(git status --porcelain --untracked-files=no 2>/dev/null)" ] && commit="$commit, changed"
"$python" native/cuda/check/summary.py "$out" --commit "$commit" $([ $is_emulated = 1 ] && echo --emulated)
