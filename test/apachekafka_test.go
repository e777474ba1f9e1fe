//go:build realworld

package test

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// startKafka starts one node of Apache Kafka, broker and controller in one, and returns the address it listens on.
// It tells clients to come to advertised. Its settings are Kafka's own but for what a single node cannot have (replicas),
// what costs a test time (the delay of a group's first rebalance), and what the agent is given as well.
func startKafka(t *testing.T, advertised string) string {
	t.Helper()
	dir := t.TempDir()
	listen, controller := freeAddress(t), freeAddress(t)
	config := filepath.Join(dir, "server.properties")
	text := fmt.Sprintf(`process.roles=broker,controller
node.id=1
controller.quorum.voters=1@%[2]s
listeners=PLAINTEXT://%[1]s,CONTROLLER://%[2]s
advertised.listeners=PLAINTEXT://%[3]s
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs=%[4]s
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=false
num.partitions=4
`, listen, controller, advertised, filepath.Join(dir, "data"))
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	tool(t, "jars")
	jars := filepath.Join(os.Getenv("BARGE_TOOLS"), "jars", "*")
	command(t, nil, nil, "java", "-cp", jars, "kafka.tools.StorageTool", "format", "-t", "AAAAAAAAAAAAAAAAAAAAAQ", "-c", config)
	var log bytes.Buffer
	cmd := exec.Command("java", "-Xmx512m", "-cp", jars, "kafka.Kafka", config)
	cmd.Stdout, cmd.Stderr = &log, &log
	ended := startProcess(t, cmd, &log)
	waitFor(t, time.Minute, "Kafka listens", func() bool {
		select {
		case err := <-ended:
			t.Fatalf("Kafka ended: %v", err)
		default:
		}
		conn, err := net.Dial("tcp", listen)
		if err != nil {
			return false
		}
		_ = conn.Close() // nothing was sent
		return true
	})
	return listen
}
