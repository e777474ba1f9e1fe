package barge_test

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/bargedata/barge"
	"github.com/bargedata/barge/objectstore"
	"github.com/bargedata/barge/record"
)

// sendSequence produces one batch of one record by hand, as producer 77 at a sequence, and returns its offset. The record is the
// sequence in six digits.
func sendSequence(t *testing.T, c *kgo.Client, topic string, sequence int32) (int64, error) {
	t.Helper()
	b := record.NewBuilder(0)
	if err := b.Append(&record.Record{Timestamp: time.Now().UnixMilli(), Value: fmt.Appendf(nil, "%06d", sequence)}); err != nil {
		t.Error(err)
	}
	raw, err := b.Build(nil)
	if err != nil {
		t.Error(err)
	}
	binary.BigEndian.PutUint64(raw[43:], 77)
	binary.BigEndian.PutUint16(raw[51:], 0)
	binary.BigEndian.PutUint32(raw[53:], uint32(sequence))
	binary.BigEndian.PutUint32(raw[17:], crc32.Checksum(raw[21:], crc32.MakeTable(crc32.Castagnoli)))
	req := kmsg.NewPtrProduceRequest()
	req.Acks, req.TimeoutMillis = -1, 10_000
	req.Topics = []kmsg.ProduceRequestTopic{{Topic: topic, Partitions: []kmsg.ProduceRequestTopicPartition{{Records: raw}}}}
	resp, err := req.RequestWith(t.Context(), c)
	if err != nil {
		return 0, err
	}
	p := resp.Topics[0].Partitions[0]
	return p.BaseOffset, kerr.ErrorForCode(p.ErrorCode)
}

func metrics(t *testing.T, a running) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+a.HTTPAddr()+"/metrics", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// A client whose batches overtake each other on two connections is not refused: they are written in order, and read in order from
// WAL objects and from Parquet. A gap that stays open costs half a second and is refused as Kafka would.
func TestBatchesThatOvertakeEachOtherAreWrittenInOrder(t *testing.T) {
	for name, inline := range map[string]int64{"objects in the log": 900 << 10, "objects in the store": 0} {
		t.Run(name, func(t *testing.T) {
			store := objectstore.NewMemory(time.Now)
			a := start(t, store, func(c *barge.Config) {
				c.ReleaseGrace, c.CacheBytes, c.InlineBytes = 0, 0, inline
				c.TableCommitInterval = 1500 * time.Millisecond
			})
			one, two := newClient(t, a, kgo.MaxVersions(kversion.V3_0_0())), newClient(t, a, kgo.MaxVersions(kversion.V3_0_0()))
			if _, err := kadm.NewClient(one).CreateTopic(t.Context(), 1, 1, nil, "logs"); err != nil {
				t.Fatal(err)
			}
			type answer struct {
				sequence int32
				offset   int64
				err      error
			}
			answers := make(chan answer, 10)
			send := func(c *kgo.Client, sequence int32) {
				offset, err := sendSequence(t, c, "logs", sequence)
				answers <- answer{sequence, offset, err}
			}
			send(one, 0)
			if got := <-answers; got.err != nil {
				t.Fatal(got.err)
			}
			for _, sequence := range []int32{3, 2, 4} { // in any order
				go send(two, sequence)
			}
			eventually(t, "all of them wait", func() bool { return strings.Contains(metrics(t, a), "barge_early_batches_total 3\n") })
			if len(answers) > 0 {
				t.Fatalf("answered before the gap is closed: %+v", <-answers)
			}
			send(one, 1)
			for range 4 {
				if got := <-answers; got.err != nil || got.offset != int64(got.sequence) {
					t.Errorf("%+v, want it at its sequence", got)
				}
			}
			if offset, err := sendSequence(t, one, "logs", 3); err != nil || offset != 3 {
				t.Errorf("a retry: at %d, %v, want 3", offset, err)
			}
			began := time.Now()
			if _, err := sendSequence(t, one, "logs", 9); err != kerr.OutOfOrderSequenceNumber { //nolint:errorlint // ErrorForCode answers these
				t.Errorf("a gap that stays open: %v", err)
			}
			if d := time.Since(began); d < 350*time.Millisecond {
				t.Errorf("it was refused after %v", d)
			}
			for _, want := range []string{"barge_early_batches_total 4\n", "barge_early_batches_in_vain_total 1\n", "barge_early_batches_refused_total 0\n"} {
				if body := metrics(t, a); !strings.Contains(body, want) {
					t.Errorf("no %q among the metrics", want)
				}
			}
			inOrder := func(from string) {
				c := newClient(t, a, kgo.ConsumeTopics("logs"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
				var got []string
				for len(got) < 5 {
					fetches := c.PollFetches(t.Context())
					if err := fetches.Err(); err != nil {
						t.Fatal(err)
					}
					fetches.EachRecord(func(r *kgo.Record) { got = append(got, string(r.Value)) })
				}
				if fmt.Sprint(got) != "[000000 000001 000002 000003 000004]" {
					t.Errorf("read %v from %s", got, from)
				}
			}
			inOrder("WAL objects")
			eventually(t, "5 rows in the table", func() bool { return tableRows(t, store, "logs") == 5 })
			inOrder("Parquet")
			eventually(t, "no WAL object is left", func() bool { return walObjects(t, store) == 0 })
		})
	}
}
