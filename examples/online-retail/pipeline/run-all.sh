#!/bin/sh
# Runs the whole pipeline and replaces ../models and ../data.
# Usage: ./run-all.sh TRANSACTIONS.csv.gz   (the Online Retail table; README.md says where it comes from)
# PYTHON chooses the interpreter, e.g. PYTHON=/usr/bin/python3 for Debian's packages.
set -eu
if [ $# -ne 1 ]; then
  sed -n '3,4s/^# //p' "$0" >&2
  exit 2
fi
transactions=$(realpath "$1")
cd "$(dirname "$0")"
: "${PYTHON:=python3}"
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-2}" OPENBLAS_NUM_THREADS=1

"$PYTHON" prepare.py "$transactions"
"$PYTHON" sids.py
"$PYTHON" train.py test
"$PYTHON" export.py
"$PYTHON" publish.py
"$PYTHON" evaluate.py
node check-onnx.mjs
