package ingest

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

var updateDocs = flag.Bool("update", false, "write docs/protocol.md instead of comparing with it")

// lastKey is the highest API key of Kafka 4.4.
const lastKey = 94

// lower says, for each API served at less than the newest version, what the newer ones bring and why they are not there.
func lower() map[int16]string {
	return map[int16]string{
		keyFetch: "18 tells a follower's position to the leader: there are no followers",
	}
}

// notServed says why an API is not advertised, by key. Ranges of one reason stand together.
func notServed() []struct {
	keys []int16
	why  string
} {
	return []struct {
		keys []int16
		why  string
	}{
		{[]int16{4, 5, 6, 7, 52, 53, 54, 55, 56, 57, 58, 59, 62, 63, 64, 67, 70, 73, 80, 81, 82, 94}, "between brokers and controllers: agents share a log in the store, and have no quorum and no replicas"},
		{[]int16{17, 36, 50, 51}, "planned: SASL. Until then agents listen where every client is trusted"},
		{[]int16{33, 37, 44, 74, 75}, "planned: topic administration"},
		{[]int16{24, 25, 26, 28, 65, 66}, "planned: transactions. InitProducerId with a transactional id is refused with 53"},
		{[]int16{27}, "writes markers for another cluster's coordinator, to abort by hand; comes after transactions, if at all"},
		{[]int16{29, 30, 31}, "planned: ACLs. Until then everybody may do everything"},
		{[]int16{34, 35, 43, 45, 46}, "moves replicas between brokers and disks: there are none"},
		{[]int16{38, 39, 40, 41}, "delegation tokens: nobody's everyday client uses them, and no other service on object storage has them"},
		{[]int16{48, 49}, "planned: quotas"},
		{[]int16{71, 72}, "telemetry: unpacking what clients push was a hole of Kafka (CVE-2026-111073), and leaving it out costs a client nothing"},
		{[]int16{76, 77, 78, 79, 83, 84, 85, 86, 87, 90, 91, 92}, "share groups: clients use them only when told to; later"},
		{[]int16{88, 89, 93}, "streams groups: Kafka Streams uses the classic protocol unless told otherwise; later"},
	}
}

// protocolPage is docs/protocol.md: the table that ApiVersions answers from, beside the newest of Kafka 4.4.
func protocolPage(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	b.WriteString(`# The Kafka protocol, as served

Made from the table that ApiVersions answers from (` + "`go test ./ingest -run TestProtocolPage -update`" + `); a test holds it to that table. "Kafka" is the newest
version of the API in Kafka 4.4. How the answers differ from Kafka's is in [skipped.md](skipped.md).

## Served
| Key | API | Versions | Kafka | Remarks |
|--:|---|---|--:|---|
`)
	served := make(map[int16]bool)
	for _, a := range apis() {
		served[a.key] = true
		newest := kmsg.RequestForKey(a.key).MaxVersion()
		var remarks []string
		if a.serve > a.min {
			remarks = append(remarks, fmt.Sprintf("below %d the connection is closed: they are advertised because librdkafka judges a broker by them (KAFKA-18659)", a.serve))
		}
		why, ok := lower()[a.key]
		if ok != (a.max < newest) {
			t.Errorf("%s is served up to %d of %d, and the reason for less is %q", kmsg.NameForKey(a.key), a.max, newest, why)
		}
		if ok {
			remarks = append(remarks, why)
		}
		fmt.Fprintf(&b, "| %d | %s | %d-%d | %d | %s |\n", a.key, kmsg.NameForKey(a.key), a.min, a.max, newest, strings.Join(remarks, "; "))
	}
	b.WriteString("\n## Not served\nA request for one of these closes the connection, as Kafka does with an API that it does not know.\n\n| Keys | APIs | Why |\n|---|---|---|\n")
	told := make(map[int16]bool)
	for _, row := range notServed() {
		var keys, names []string
		for _, k := range row.keys {
			if served[k] {
				continue // a row's keys leave it one by one, as they come to be served
			}
			told[k] = true
			keys, names = append(keys, fmt.Sprint(k)), append(names, kmsg.NameForKey(k))
		}
		if len(keys) > 0 {
			fmt.Fprintf(&b, "| %s | %s | %s |\n", strings.Join(keys, ", "), strings.Join(names, ", "), row.why)
		}
	}
	for k := range int16(lastKey + 1) {
		if !served[k] && !told[k] {
			t.Errorf("%d %s is neither served nor is a reason told", k, kmsg.NameForKey(k))
		}
	}
	if kmsg.RequestForKey(lastKey+1) != nil {
		t.Errorf("there is an API %d: raise lastKey", lastKey+1)
	}
	return b.String()
}

// The page tells what ApiVersions answers, and has a reason for everything that is missing.
func TestProtocolPage(t *testing.T) {
	path := filepath.Join("..", "docs", "protocol.md")
	want := protocolPage(t)
	if *updateDocs {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("docs/protocol.md is not what is served: run make generate")
	}
}
