#!/bin/sh
# Runs the whole pipeline and replaces ../models and ../data.
# Usage: ./run-all.sh TRANSACTIONS.csv.gz   (the Online Retail table; README.md says where it comes from)
# OUTPUT_DIR, when set, gets them instead. PYTHON chooses the interpreter: /usr/bin/python3 for Debian's packages.
set -eu
if [ $# -ne 1 ]; then
  sed -n '3,4s/^# //p' "$0" >&2
  exit 2
fi
transactions=$(realpath "$1")
if [ -n "${OUTPUT_DIR:-}" ]; then
  mkdir -p "$OUTPUT_DIR"
  OUTPUT_DIR=$(realpath "$OUTPUT_DIR")
  export OUTPUT_DIR
fi
cd "$(dirname "$0")"
: "${PYTHON:=python3}"
export OMP_NUM_THREADS=2 OPENBLAS_NUM_THREADS=1  # train.py sets its own

"$PYTHON" prepare.py "$transactions"
"$PYTHON" sids.py
"$PYTHON" train.py test
"$PYTHON" export.py
"$PYTHON" export_shared_context.py
"$PYTHON" publish.py
"$PYTHON" evaluate.py
node check-onnx.mjs
