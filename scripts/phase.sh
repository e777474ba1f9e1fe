#!/usr/bin/env bash
# phase.sh NAME COMMAND...: runs the command, then says how many seconds it took; the exit code is the command's.
name=$1
shift
start=$SECONDS
"$@"
code=$?
printf '== %s: %d s%s\n' "$name" $((SECONDS - start)) "$([ $code = 0 ] || echo ", failed")"
exit $code
