package ingest

import (
	"testing"

	"github.com/bargedata/barge/record"
)

// TestAProduceRequestIsReadAndAnsweredWithFewAllocations: it comes once for each batch of a producer that sends one
// partition at a time.
func TestAProduceRequestIsReadAndAnsweredWithFewAllocations(t *testing.T) {
	body := produceOf(9, "events", 3, batchOf(t, record.None, "value")).AppendTo(nil)
	a, _ := apiOf(keyProduce)
	req := request{api: a, version: 9, correlation: 7, body: body}
	var decoded produceRequest
	if n := testing.AllocsPerRun(100, func() {
		var err error
		if decoded, err = decodeProduce(body, 9, true); err != nil {
			t.Fatal(err)
		}
	}); n > 3 { // the topic's name, the topics, the partitions
		t.Errorf("reading allocates %v times", n)
	}
	results := []produceResult{{baseOffset: 4711, logAppendTime: -1}}
	if n := testing.AllocsPerRun(100, func() { encodeProduce(req, decoded.topics, results) }); n > 2 { // the frame, and the list it is in
		t.Errorf("answering allocates %v times", n)
	}
}
