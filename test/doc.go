// Package test runs Barge as users do: the built binary, unmodified Kafka clients, a real S3 server, and the table engines.
//
// All tests have the build tag realworld and want BARGE_TOOLS, the directory that scripts/setup-test-tools.sh fills; `make test` does
// both. A missing tool fails with its name.
package test
