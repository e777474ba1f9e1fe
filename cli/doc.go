// Package cli is the binary's verbs: flags, environment and files in; text or JSON out.
//
// Main is the whole surface; cmd/barge calls it with what the process was given, and the tests with what they made up:
//
//	code := cli.Main(ctx, []string{"barge", "topic", "list"}, os.Stdin, os.Stdout, os.Stderr, os.Environ())
//
// Exit statuses are fixed: 0 done, 1 it did not work, 2 the command line is wrong, 78 a setting has a value that cannot
// work, or the settings file cannot be read. What a verb was asked for goes to stdout, everything about it to stderr. An
// error says what failed, on which thing, and what to do.
//
// Verbs that talk to brokers (produce, consume, topic) speak plain Kafka and work with any Kafka. Verbs that read tables
// read the store itself and need no agent.
package cli
