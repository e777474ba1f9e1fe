#!/usr/bin/env bash
# librdkafka.sh DIRECTORY: builds librdkafka and its test suite from the source package of a Debian release, and leaves in
# DIRECTORY what running the suite takes: test-runner, the libraries, what tests load, VERSION. About two minutes on two cores.
# Without SASL, TLS and HTTP: Barge has none of them yet, and their tests skip themselves.
set -euo pipefail
release=trixie
into=$1
build=$into.build
rm -rf "$into" "$build"
mkdir -p "$into" "$build/lists/partial" "$build/cache/archives/partial"
trap 'rm -rf "$build"' EXIT

command -v apt-get >/dev/null || {
  echo "the source of librdkafka is Debian's package, and there is no apt-get: put a test-runner built elsewhere into $into" >&2
  exit 1
}
# The mirror that this machine uses, asked for sources, with lists of their own: the machine's are left alone.
site=$(apt-get indextargets --format '$(SITE) $(LABEL)' 'Created-By: Packages' | awk '$2 == "Debian" { print $1; exit }')
key=/usr/share/keyrings/debian-archive-keyring.gpg
[ -n "$site" ] && [ -f "$key" ] || {
  echo "apt knows no mirror of Debian here (or $key is missing): the source of librdkafka comes from there" >&2
  exit 1
}
echo "deb-src [signed-by=$key] $site $release main" >"$build/sources.list"
apt() {
  apt-get -q -o Dir::Etc::sourcelist="$build/sources.list" -o Dir::Etc::sourceparts=/dev/null -o Dir::State::lists="$build/lists" \
    -o Dir::Cache="$build/cache" -o APT::Sandbox::User=root "$@"
}
apt update
(cd "$build" && apt source --download-only librdkafka)
mkdir "$build/source"
tar -xf "$build"/librdkafka_*.orig.tar.* -C "$build/source" --strip-components 1

cd "$build/source"
./configure --disable-sasl --disable-curl --disable-ssl --disable-syslog --disable-debug-symbols
make -j"$(nproc)" libs
make -j"$(nproc)" -C tests build
make -C tests/interceptor_test
cp tests/test-runner "$into/"
cp -P src/librdkafka.so* src-cpp/librdkafka++.so* "$into/"
mkdir "$into/interceptor_test" "$into/src"
cp src/statistics_schema.json "$into/src/"
cp tests/interceptor_test/*.so "$into/interceptor_test/"
ls "$build"/librdkafka_*.dsc | sed -E 's/.*librdkafka_(.*)\.dsc/\1/' >"$into/VERSION"
LD_LIBRARY_PATH=$into "$into/test-runner" -h >/dev/null 2>&1 || [ $? -lt 126 ]
