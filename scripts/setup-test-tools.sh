#!/usr/bin/env bash
# Installs in .tools/ what the tests against real clients and readers run. Idempotent: each part keeps a stamp with
# what it was made from, and is made again only when that changes. A second run takes well under a second.
#
#   .tools/venv            Python clients and readers     test/setup/requirements.txt
#   .tools/jars            Apache Kafka's own tools       test/setup/pom.xml
#   .tools/bin/versitygw   an S3 server on loopback       tools/versitygw/go.mod
#   .tools/bin/kcat        a link to kcat on PATH         Debian package, installed when missing and root
#   .tools/bin/postgres …  links to PostgreSQL's programs Debian package, likewise
#   .tools/librdkafka      librdkafka's own test suite    built from Debian's source package
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
tools=$root/.tools
mkdir -p "$tools/bin" "$tools/stamps" "$tools/log"

# Two runs at once would delete each other's work.
if command -v flock >/dev/null; then
  exec 9>"$tools/lock"
  flock 9
fi

die() {
  printf 'setup-test-tools: %s\n' "$*" >&2
  exit 1
}

# Prerequisites: the command, the test that it is there, the Debian package that brings it.
have_python() { command -v python3 && python3 -c 'import ensurepip, venv'; }
have_javac() { command -v java && command -v javac; }
# PostgreSQL's programs lie where Debian puts them, one directory for each version and none of them on PATH, or else on PATH.
postgres_programs="initdb pg_ctl postgres pg_basebackup"
postgres_program() {
  local newest
  newest=$(printf '%s\n' /usr/lib/postgresql/*/bin/"$1" | sort -V | tail -n 1)
  if [ -x "$newest" ]; then printf '%s\n' "$newest"; else command -v "$1"; fi
}
have_postgres() {
  local name
  for name in $postgres_programs; do
    [ -x "$(postgres_program "$name")" ] || return 1
  done
}
have_header() { printf '#include <%s>\n' "$1" | g++ -E -x c++ -; }
missing=() packages=()
need() {
  "${@:3}" >/dev/null 2>&1 && return
  missing+=("$1")
  packages+=("$2")
}
command -v go >/dev/null || die "go is missing: install the Go release named in go.mod and put it on PATH"
need kcat kcat command -v kcat
need "PostgreSQL ($postgres_programs)" postgresql have_postgres
need "java and javac (JDK 17 or newer)" default-jdk-headless have_javac
need "mvn (Maven)" maven command -v mvn
need "python3 with venv" "python3 python3-venv" have_python
need "gcc, g++ and make" build-essential command -v gcc g++ make
need "zlib's header" zlib1g-dev have_header zlib.h
need "zstd's header" libzstd-dev have_header zstd.h
need "RapidJSON" rapidjson-dev have_header rapidjson/schema.h

if [ ${#missing[@]} -gt 0 ]; then
  names=$(printf ', %s' "${missing[@]}")
  fix="apt-get install ${packages[*]}"
  if ! command -v apt-get >/dev/null; then
    die "missing: ${names:2}. Install them and put them on PATH (on Debian: $fix)"
  fi
  [ "$(id -u)" = 0 ] || die "missing: ${names:2}. Run as root: $fix"
  start=$SECONDS
  printf 'setup: apt    installing %s\n' "${packages[*]}"
  # shellcheck disable=SC2086,SC2048 # one entry may hold two packages
  {
    apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -q -y install --no-install-recommends ${packages[*]}
  } >"$tools/log/apt.log" 2>&1 || {
    tail -n 15 "$tools/log/apt.log" >&2
    die "missing: ${names:2}, and this failed: apt-get update; $fix"
  }
  printf 'setup: apt    %d s\n' $((SECONDS - start))
  hash -r
fi
kcat=$(command -v kcat) || die "kcat is missing on PATH, though its package is installed"
ln -sf "$kcat" "$tools/bin/kcat"
have_postgres || die "PostgreSQL's programs ($postgres_programs) are not where Debian puts them nor on PATH, though its package is installed"
for name in $postgres_programs; do
  ln -sf "$(postgres_program "$name")" "$tools/bin/$name"
done

# What each part is made from; also its stamp.
made_from() {
  case $1 in
  venv) echo "$root" && python3 --version && cat test/setup/requirements.txt ;;
  jars) cat test/setup/pom.xml ;;
  versitygw) go env GOVERSION && cat tools/versitygw/go.mod tools/versitygw/go.sum ;;
  librdkafka) cat test/setup/librdkafka.sh ;;
  esac
}

make_venv() {
  rm -rf "$tools/venv"
  python3 -m venv "$tools/venv"
  "$tools/venv/bin/pip" install --disable-pip-version-check --only-binary :all: -r test/setup/requirements.txt
}

make_jars() {
  rm -rf "$tools/jars"
  mvn -B -ntp -f test/setup/pom.xml dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$tools/jars"
  java -cp "$tools/jars/*" org.apache.kafka.tools.TopicCommand --version
}

make_versitygw() {
  go build -modfile=tools/versitygw/go.mod -o "$tools/bin/versitygw" github.com/versity/versitygw/cmd/versitygw
}

make_librdkafka() {
  test/setup/librdkafka.sh "$tools/librdkafka"
}

there() {
  case $1 in
  venv) [ -x "$tools/venv/bin/python" ] ;;
  jars) [ -d "$tools/jars" ] ;;
  versitygw) [ -x "$tools/bin/versitygw" ] ;;
  librdkafka) [ -x "$tools/librdkafka/test-runner" ] ;;
  esac
}

# The parts share nothing but the network, so they are made side by side.
running=()
for part in venv jars versitygw librdkafka; do
  stamp=$tools/stamps/$part
  want=$(made_from "$part")
  if there "$part" && [ "$(cat "$stamp" 2>/dev/null)" = "$want" ]; then
    continue
  fi
  rm -f "$stamp"
  (
    start=$SECONDS
    "make_$part" >"$tools/log/$part.log" 2>&1
    printf '%s\n' "$want" >"$stamp"
    printf 'setup: %-10s %d s\n' "$part" $((SECONDS - start))
  ) 9>&- &
  running+=("$!:$part")
done
failed=()
for job in ${running[@]+"${running[@]}"}; do
  wait "${job%%:*}" || failed+=("${job#*:}")
done
if [ ${#failed[@]} -gt 0 ]; then
  for part in "${failed[@]}"; do
    printf '%s\n' "--- $part: the end of .tools/log/$part.log" >&2
    tail -n 20 "$tools/log/$part.log" >&2
  done
  die "could not make: ${failed[*]}"
fi
printf 'setup: all tools are in .tools (%d s)\n' "$SECONDS"
