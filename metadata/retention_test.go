package metadata

import (
	"slices"
	"testing"

	"github.com/bargedata/barge/record"
)

// What goes follows Kafka's UnifiedLog.deleteOldSegments.
func TestRetentionTakesWholeFilesFromTheOldestOn(t *testing.T) {
	const hour = 3_600_000
	now := int64(1000 * hour)
	file := func(end record.Offset, ago int64) fileSpan {
		f := &File{Size: 100, Rows: 10, Parts: []FilePart{{Rows: 10, MaxTimestamp: now - ago}}}
		return fileSpan{base: end - 10, end: end, file: f}
	}
	none := file(20, 0)
	none.file.Parts[0].MaxTimestamp = -1
	for name, c := range map[string]struct {
		files []fileSpan
		runs  []run
		keep  retention
		want  record.Offset
	}{
		"nothing set":                       {[]fileSpan{file(10, 9*hour), file(20, 8*hour)}, nil, retention{-1, -1}, 3},
		"by time":                           {[]fileSpan{file(10, 9*hour), file(20, 8*hour), file(30, 2*hour)}, nil, retention{3 * hour, -1}, 20},
		"not at the limit itself":           {[]fileSpan{file(10, 9*hour), file(20, 3*hour)}, nil, retention{3 * hour, -1}, 10},
		"everything is too old":             {[]fileSpan{file(10, 9*hour), file(20, 8*hour)}, nil, retention{hour, -1}, 20},
		"runs are not taken":                {[]fileSpan{file(10, 9*hour)}, []run{{base: 10, end: 20, len: 1000, maxTime: 1}}, retention{hour, 0}, 10},
		"the future keeps itself and later": {[]fileSpan{file(10, 9*hour), file(20, -9*hour), file(30, 9*hour)}, nil, retention{hour, -1}, 10},
		"the past goes at once":             {[]fileSpan{file(10, now-5)}, nil, retention{7 * 24 * hour, -1}, 10},
		"no timestamps, never too old":      {[]fileSpan{file(10, 9*hour), none, file(30, 9*hour)}, nil, retention{hour, -1}, 10},
		"zero milliseconds":                 {[]fileSpan{file(10, 1), file(20, 0)}, nil, retention{0, -1}, 10},
		"by size":                           {[]fileSpan{file(10, 9*hour), file(20, 8*hour), file(30, 2*hour)}, nil, retention{-1, 150}, 10},
		"by size, to the byte":              {[]fileSpan{file(10, 9*hour), file(20, 8*hour), file(30, 2*hour)}, nil, retention{-1, 200}, 10},
		"by size, a byte more":              {[]fileSpan{file(10, 9*hour), file(20, 8*hour), file(30, 2*hour)}, nil, retention{-1, 201}, 3},
		"runs count":                        {[]fileSpan{file(10, 0), file(20, 0)}, []run{{base: 20, end: 21, len: 55}}, retention{-1, 155}, 10},
		"size goes on where time stops":     {[]fileSpan{file(10, 9*hour), file(20, 0), file(30, 0)}, nil, retention{hour, 100}, 20},
		"time goes on where size stops":     {[]fileSpan{file(10, 9*hour), file(20, 8*hour), file(30, 0)}, nil, retention{hour, 200}, 20},
		"no files":                          {nil, []run{{end: 10, len: 10}}, retention{0, 0}, 3},
	} {
		p := partition{logStart: 3, files: c.files, runs: c.runs}
		if got := p.expired(now, c.keep); got != c.want {
			t.Errorf("%s: the log starts at %d, want %d", name, got, c.want)
		}
	}
}

func TestRetentionReadsConfigsAsKafkaDoes(t *testing.T) {
	week := int64(604_800_000)
	for _, c := range []struct {
		configs map[string]string
		want    retention
	}{
		{nil, retention{week, -1}},
		{map[string]string{"retention.ms": " 5 ", "retention.bytes": "7"}, retention{5, 7}},
		{map[string]string{"retention.ms": "-1"}, retention{-1, -1}},
		{map[string]string{"cleanup.policy": "compact", "retention.ms": "5", "retention.bytes": "7"}, retention{-1, -1}},
		{map[string]string{"cleanup.policy": "compact, delete", "retention.ms": "5"}, retention{5, -1}},
		{map[string]string{"cleanup.policy": "delete"}, retention{week, -1}},
		{map[string]string{"cleanup.policy": ""}, retention{-1, -1}}, // KIP-1072: neither
	} {
		if got := (Topic{Configs: c.configs}).retention(); got != c.want {
			t.Errorf("%v: %+v, want %+v", c.configs, got, c.want)
		}
	}
	for _, e := range DescribeConfigs(nil) { // the defaults that are told are those that count
		if e.Name == configRetentionMs && e.Value != "604800000" || e.Name == configRetentionBytes && e.Value != "-1" || e.Name == configCleanupPolicy && e.Value != "delete" {
			t.Errorf("%s is told to be %s by default", e.Name, e.Value)
		}
	}
}

// A part of a file counts by its rows, also where size times rows is beyond 64 bits.
func TestShareOfAFile(t *testing.T) {
	for _, c := range []struct{ size, rows, all, want int64 }{
		{100, 1, 3, 33}, {100, 3, 3, 100}, {100, 5, 3, 100}, {100, 0, 3, 0}, {100, 0, 0, 100}, {1 << 40, 1 << 30, 1 << 31, 1 << 39},
	} {
		f := fileSpan{file: &File{Size: record.Len(c.size), Rows: c.all, Parts: []FilePart{{Rows: c.rows}}}}
		if got := f.share(); got != c.want {
			t.Errorf("%+v: %d", c, got)
		}
	}
}

// What the View proposes is what Apply does.
func TestExpiredTopicsAreThoseThatRetentionMoves(t *testing.T) {
	checked := 0
	for seed := range uint64(6) {
		log := newRandomLog(seed)
		for range 250 {
			log.entry()
			v := &View{state: log.state}
			proposed := v.Expired(log.state.time, record.TopicID{}, 1000)
			if log.state.level < 4 {
				continue
			}
			trial, err := DecodeState(log.state.Encode())
			if err != nil {
				t.Fatal(err)
			}
			all := make([]record.TopicID, 0, len(trial.topics))
			for _, topic := range sortedTopics(trial.topics) {
				all = append(all, topic.ID)
			}
			res := trial.Apply(Entry{Seq: trial.next, Time: trial.time, Commands: []Command{ApplyRetention{Topics: all}}})[0].(ApplyRetentionResult)
			var moved []record.TopicID
			for _, m := range res.Moved {
				if n := len(moved); n == 0 || moved[n-1] != m.Partition.Topic {
					moved = append(moved, m.Partition.Topic)
				}
			}
			if !slices.Equal(proposed, moved) {
				t.Fatalf("seed %d: proposed %v, moved %v", seed, proposed, moved)
			}
			checked += len(moved)
			if len(proposed) > 1 {
				if page := v.Expired(log.state.time, proposed[0], 1); !slices.Equal(page, proposed[1:2]) {
					t.Fatalf("seed %d: the page after %v is %v, want %v", seed, proposed[0], page, proposed[1])
				}
			}
		}
	}
	if checked < 5 {
		t.Errorf("only %d topics had expired", checked)
	}
}

func TestProducersOfAPartition(t *testing.T) {
	s := testState(t, 1)
	p := record.Partition{Topic: topicNumber(1)}
	commit := func(counter uint64, at int64, id int64, epoch int16, sequence, records int32) {
		t.Helper()
		c := CommitObject{Session: 1, Counter: counter, Key: InlineKey(counter, 0, 0), Size: 500, Runs: []CommitRun{{Partition: p, Pos: 64, Batches: []CommitBatch{
			{Len: 50, Records: records, ProducerID: id, ProducerEpoch: epoch, BaseSequence: sequence},
		}}}}
		if res := s.Apply(Entry{Seq: s.next, Time: at, Commands: []Command{c}})[0].(CommitObjectResult); res.Err != nil || res.Batches[0][0].Err != nil {
			t.Fatalf("%+v", res)
		}
	}
	commit(0, 1000, 7, 2, 0, 5)
	commit(1, 2000, 9, 0, 2147483640, 10)
	commit(2, 3000, 7, 2, 5, 1)
	v := &View{state: s}
	want := []ActiveProducer{{ID: 9, LastSequence: 1, LastAt: 2000}, {ID: 7, Epoch: 2, LastSequence: 5, LastAt: 3000}}
	if got, err := v.Producers(p); err != nil || !slices.Equal(got, want) {
		t.Errorf("%+v, %v, want %+v", got, err, want)
	}
	s.Apply(Entry{Seq: s.next, Time: 2000 + producerExpiryMs})
	if got, err := v.Producers(p); err != nil || !slices.Equal(got, want[1:]) {
		t.Errorf("a day later: %+v, %v, want %+v", got, err, want[1:])
	}
	if _, err := v.Producers(record.Partition{Topic: topicNumber(1), Index: 1}); err == nil {
		t.Error("producers of a partition that is not there")
	}
}
