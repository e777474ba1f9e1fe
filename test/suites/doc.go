// Package suites runs test suites that others wrote for other brokers against Barge: that of franz-go's client, Kafka's own
// tests as franz-go has ported them, and that of librdkafka. None of their code lies here: franz-go's comes with the
// module, librdkafka's is built by scripts/setup-test-tools.sh.
//
// What is not expected to pass stands in exclusions.txt, by name and with a reason; everything else has to. The tests have the
// build tag realworld and want BARGE_TOOLS, as those in test do. BARGE_SUITES=all adds what takes too long for every change,
// and tries what is excluded, so that an exclusion that has become needless is told.
package suites
