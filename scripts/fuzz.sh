#!/usr/bin/env bash
# fuzz.sh [TIME [PACKAGE-DIR]]: runs every fuzz target of the module, one after another, TIME (30s) each.
# An input that fails is kept by go test in testdata/fuzz of the package; commit it with the fix.
set -euo pipefail
cd "$(dirname "$0")/.."
time=${1:-30s}
dir=${2:-.}
[ "$dir" = . ] || dir=./${dir#./}

targets=$(grep -rEo --include='*_test.go' --exclude-dir=.git --exclude-dir=.tools '^func Fuzz[A-Za-z0-9_]+' "$dir" | sort || true)
if [ -z "$targets" ]; then
  echo "fuzz: no target under $dir" >&2
  exit 1
fi
failed=()
while IFS=: read -r file func; do
  name=${func#func }
  printf '== %s in %s for %s\n' "$name" "$(dirname "$file")" "$time"
  go test -tags synctests -run '^$' -fuzz "^$name\$" -fuzztime "$time" "$(dirname "$file")" </dev/null || failed+=("$name")
done <<<"$targets"
if [ ${#failed[@]} -gt 0 ]; then
  echo "fuzz: failed: ${failed[*]}" >&2
  exit 1
fi
