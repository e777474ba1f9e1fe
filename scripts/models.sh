#!/usr/bin/env bash
# Checks the spin models in metadata/models: each sound model over all its states, and each variant, which lacks one rule
# of the protocol, until it fails. A sound model with an error fails the script, and so does a variant without one: a
# model that can not fail shows nothing. Needs spin and gcc; installs the Debian packages when they are missing and root.
set -euo pipefail
cd "$(dirname "$0")/.."
models=$PWD/metadata/models

die() {
  printf 'models: %s\n' "$*" >&2
  exit 1
}

missing=()
for program in spin gcc; do
  command -v "$program" >/dev/null || missing+=("$program")
done
if [ ${#missing[@]} -gt 0 ]; then
  fix="apt-get install ${missing[*]}"
  command -v apt-get >/dev/null || die "missing: ${missing[*]}. Install them and put them on PATH (on Debian: $fix)"
  [ "$(id -u)" = 0 ] || die "missing: ${missing[*]}. Run as root: $fix"
  log=$(mktemp)
  { apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -q -y install --no-install-recommends "${missing[@]}"; } >"$log" 2>&1 || {
    tail -n 15 "$log" >&2
    die "missing: ${missing[*]}, and this failed: apt-get update; $fix"
  }
  rm -f "$log"
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
failed=0

# check sound|broken MODEL [-DMACRO...]
check() {
  local want=$1 model=$2 errors states verdict=ok
  shift 2
  rm -f pan*
  # -w: the generated code is not ours to mend.
  spin -a "$@" "$models/$model.pml" >spin.log 2>&1 && gcc -w -O2 -DSAFETY -DCOLLAPSE -o pan pan.c || {
    cat spin.log >&2
    die "$model $*: spin or gcc failed"
  }
  timeout 300 ./pan -m200000 >pan.log 2>&1 || true # its exit code does not tell an error from none
  errors=$(sed -n 's/.*errors: \([0-9]*\).*/\1/p' pan.log)
  states=$(sed -n 's/^ *\([0-9.e+]*\) states, stored.*/\1/p' pan.log)
  if [ -z "$errors" ] || [ -z "$states" ] || grep -qE 'max search depth too small|out of memory' pan.log; then
    tail -n 20 pan.log >&2
    die "$model $*: the search did not come to an end"
  fi
  case $want in
  sound) [ "$errors" = 0 ] && ! grep -q 'Search not completed' pan.log || verdict="FAILED: an error where there must be none" ;;
  broken) grep -q 'assertion violated' pan.log || verdict="FAILED: no assertion was violated where one must be" ;;
  esac
  [ "$verdict" = ok ] || failed=1
  printf '%-6s %-10s %9s states  %s  %s\n' "$want" "$model" "$states" "$verdict" "$*"
  [ "$verdict" = ok ] || grep -E '^pan:' pan.log || true
}

late="-DTICKS=1 -DDOUBTS=1 -DROUNDS=2 -DSLOTS=4"
# shellcheck disable=SC2086 # several words each
{
  check sound truncation
  check sound truncation -DTICKS=1 -DSLOTS=6
  check sound truncation $late
  check sound truncation -DTICKS=1 -DSLOTS=4 -DREADER
  check sound truncation -DTICKS=1 -DCONFIRM
  check broken truncation -DSTALE_CHECK
  check broken truncation -DTICKS=1 -DNO_CHECK
  check broken truncation -DTICKS=1 -DCHECK_BEFORE_CREATE
  check broken truncation -DTICKS=1 -DROUNDS=2 -DCLAIM_UNCHECKED
  check broken truncation -DTICKS=1 -DDELETE_FIRST
  check broken truncation $late -DTRUNCATE_ALL
  check broken truncation $late -DSETTLE_BY_READING
  check broken truncation -DTICKS=1 -DSLOTS=4 -DREADER -DREAD_UNCHECKED
  check broken truncation -DTICKS=1 -DCONFIRM -DCONFIRM_UNCHECKED
  check sound seal
  check broken seal -DSWEEP_BEFORE_SEAL
  check broken seal -DSTATE_BEFORE_SEAL
  check broken seal -DCOMMIT_AFTER_SEAL
  check broken seal -DCOUNTERS_IN_ANY_ORDER
  check broken seal -DCOMMIT_BEFORE_PUT
  check broken seal -DFORGET_EARLY
}
[ $failed = 0 ] || die "see FAILED above"
printf 'models: all as they must be (%d s)\n' "$SECONDS"
