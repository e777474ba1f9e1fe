package ingest

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"net"
	"reflect"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// fill sets every field of a kmsg struct to something random: strings and arrays of 0-3, nil where that is allowed.
func fill(rng *rand.Rand, v reflect.Value, version int16) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if name := v.Type().Field(i).Name; name == "Version" || name == "UnknownTags" || !v.Field(i).CanSet() {
				continue
			}
			fill(rng, v.Field(i), version)
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			b := make([]byte, rng.IntN(20))
			for i := range b {
				b[i] = byte(rng.Uint32())
			}
			v.SetBytes(b)
			return
		}
		s := reflect.MakeSlice(v.Type(), rng.IntN(4), 4)
		for i := range s.Len() {
			fill(rng, s.Index(i), version)
		}
		v.Set(s)
	case reflect.Array:
		for i := range v.Len() {
			v.Index(i).SetUint(uint64(byte(rng.Uint32())))
		}
	case reflect.Pointer:
		if rng.IntN(3) > 0 {
			v.Set(reflect.New(v.Type().Elem()))
			fill(rng, v.Elem(), version)
		}
	case reflect.String:
		b := make([]byte, rng.IntN(12))
		for i := range b {
			b[i] = byte('a' + rng.IntN(26))
		}
		v.SetString(string(b))
	case reflect.Bool:
		v.SetBool(rng.IntN(2) == 0)
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(rng.Int64() >> rng.IntN(64) >> (64 - v.Type().Bits()))
	default:
		panic(v.Kind())
	}
}

// randomRequest is a request of the key and version with random content, and its body on the wire. Fields that the
// version can not say are at their defaults.
func randomRequest(rng *rand.Rand, key, version int16) (kmsg.Request, []byte) {
	req := kmsg.RequestForKey(key)
	req.SetVersion(version)
	fill(rng, reflect.ValueOf(req).Elem(), version)
	// Null names where null is not allowed are written as empty ones by kmsg; that is what a decoder sees.
	return req, req.AppendTo(nil)
}

func TestLayoutsAgreeWithKmsg(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for _, a := range apis() {
		if a.key == keyProduce || a.key == keyFetch {
			continue
		}
		layout, ok := schemaOf(a.key)
		if !ok {
			t.Fatalf("key %d has no layout", a.key)
		}
		probe := kmsg.RequestForKey(a.key)
		if probe.MaxVersion() < a.max {
			t.Fatalf("key %d: kmsg knows version %d, advertised is %d", a.key, probe.MaxVersion(), a.max)
		}
		for version := a.serve; version <= a.max; version++ {
			probe.SetVersion(version)
			flexible := version >= a.flexible
			if probe.IsFlexible() != flexible {
				t.Fatalf("key %d version %d: flexible %v, kmsg says %v", a.key, version, flexible, probe.IsFlexible())
			}
			for range 60 {
				_, body := randomRequest(rng, a.key, version)
				d := decoder{buf: body, flexible: flexible}
				d.walk(layout, version)
				d.tags()
				if d.err != nil || len(d.buf) != 0 {
					t.Fatalf("key %d version %d: %v, %d bytes left of % x", a.key, version, d.err, len(d.buf), body)
				}
				for n := range body {
					if err := checkBody(layout, version, flexible, body[:n]); !errors.Is(err, errMalformed) {
						t.Fatalf("key %d version %d cut to %d of %d bytes: %v, want malformed", a.key, version, n, len(body), err)
					}
				}
			}
		}
	}
}

func TestProduceRequestDecodesAsKmsgDoes(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	for version := int16(3); version <= 13; version++ {
		for range 200 {
			_, body := randomRequest(rng, keyProduce, version)
			compareProduce(t, body, version)
			for n := range body {
				if _, err := decodeProduce(body[:n], version, version >= 9); !errors.Is(err, errMalformed) {
					t.Fatalf("version %d cut to %d of %d bytes: %v, want malformed", version, n, len(body), err)
				}
			}
		}
	}
}

// compareProduce decodes body with both codecs: what ours accepts means the same to kmsg.
func compareProduce(t *testing.T, body []byte, version int16) {
	t.Helper()
	got, err := decodeProduce(body, version, version >= 9)
	if err != nil {
		return
	}
	want := kmsg.NewPtrProduceRequest()
	want.Version = version
	if err := want.ReadFrom(body); err != nil {
		t.Fatalf("version %d: kmsg refuses what we accept: %v", version, err)
	}
	same := reflect.DeepEqual(got.transactionalID, want.TransactionID) && got.acks == want.Acks &&
		got.timeoutMillis == want.TimeoutMillis && len(got.topics) == len(want.Topics)
	for i := 0; same && i < len(got.topics); i++ {
		g, w := got.topics[i], want.Topics[i]
		same = g.name == w.Topic && g.id == w.TopicID && len(g.partitions) == len(w.Partitions)
		for j := 0; same && j < len(g.partitions); j++ {
			same = g.partitions[j].index == w.Partitions[j].Partition && bytes.Equal(g.partitions[j].records, w.Partitions[j].Records) &&
				(g.partitions[j].records == nil) == (w.Partitions[j].Records == nil)
		}
	}
	if !same {
		t.Fatalf("version %d:\n got %+v\nwant %+v", version, got, want)
	}
}

func TestFetchRequestDecodesAsKmsgDoes(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	for version := int16(4); version <= 17; version++ {
		for range 200 {
			_, body := randomRequest(rng, keyFetch, version)
			if _, err := decodeFetch(body, version, version >= 12); err != nil {
				t.Fatalf("version %d: %v", version, err)
			}
			compareFetch(t, body, version)
			for n := range body {
				if _, err := decodeFetch(body[:n], version, version >= 12); !errors.Is(err, errMalformed) {
					t.Fatalf("version %d cut to %d of %d bytes: %v, want malformed", version, n, len(body), err)
				}
			}
		}
	}
}

// compareFetch checks that what decodeFetch accepts means the same to kmsg. Tag sections, which decodeFetch skips and
// kmsg reads into, are not compared.
func compareFetch(t *testing.T, body []byte, version int16) {
	t.Helper()
	got, err := decodeFetch(body, version, version >= 12)
	if err != nil {
		return
	}
	want := kmsg.NewPtrFetchRequest()
	want.Version = version
	if err := want.ReadFrom(body); err != nil {
		return // inside a tag
	}
	same := got.maxWaitMillis == want.MaxWaitMillis && got.minBytes == want.MinBytes && got.maxBytes == want.MaxBytes &&
		got.readCommitted == (want.IsolationLevel == 1) && got.sessionID == want.SessionID && len(got.topics) == len(want.Topics)
	if version >= 7 {
		same = same && got.sessionEpoch == want.SessionEpoch
	}
	for i := 0; same && i < len(got.topics); i++ {
		g, w := got.topics[i], want.Topics[i]
		same = g.name == w.Topic && g.id == w.TopicID && len(g.partitions) == len(w.Partitions)
		for j := 0; same && j < len(g.partitions); j++ {
			gp, wp := g.partitions[j], w.Partitions[j]
			same = gp.index == wp.Partition && gp.offset == wp.FetchOffset && gp.maxBytes == wp.PartitionMaxBytes && gp.leaderEpoch == wp.CurrentLeaderEpoch
		}
	}
	if !same {
		t.Fatalf("version %d:\n got %+v\nwant %+v", version, got, want)
	}
}

func flatten(buffers net.Buffers) []byte { return bytes.Join(buffers, nil) }

func TestProduceResponseEncodesAsKmsgDoes(t *testing.T) {
	topics := []produceTopic{
		{name: "a", id: [16]byte{1}, partitions: []producePartition{{index: 0}, {index: 3}}},
		{name: "bb", id: [16]byte{2}, partitions: []producePartition{{index: 9}}},
		{name: "empty", id: [16]byte{3}},
	}
	results := []produceResult{
		{baseOffset: 42, logAppendTime: -1, logStartOffset: 7},
		{code: codeInvalidRecord, message: "no", baseOffset: -1, logAppendTime: -1, logStartOffset: -1},
		{baseOffset: 1 << 40, logAppendTime: 1234, logStartOffset: 0},
	}
	row, _ := apiOf(keyProduce)
	for version := int16(3); version <= 13; version++ {
		want := kmsg.NewPtrProduceResponse()
		n := 0
		for _, topic := range topics {
			rt := kmsg.NewProduceResponseTopic()
			rt.Topic, rt.TopicID = topic.name, topic.id
			for _, p := range topic.partitions {
				rp := kmsg.NewProduceResponseTopicPartition()
				rp.Partition, rp.ErrorCode, rp.BaseOffset = p.index, int16(results[n].code), results[n].baseOffset
				rp.LogAppendTime, rp.LogStartOffset = results[n].logAppendTime, results[n].logStartOffset
				if results[n].message != "" {
					rp.ErrorMessage = &results[n].message
				}
				rt.Partitions = append(rt.Partitions, rp)
				n++
			}
			want.Topics = append(want.Topics, rt)
		}
		want.SetVersion(version)
		req := request{api: row, version: version, correlation: 77}
		if got, expected := flatten(encodeProduce(req, topics, results)), flatten(encode(req, want)); !bytes.Equal(got, expected) {
			t.Errorf("version %d:\n got % x\nwant % x", version, got, expected)
		}
	}
}

func TestFetchResponseEncodesAsKmsgDoes(t *testing.T) {
	row, _ := apiOf(keyFetch)
	// Enough partitions that the encoder's buffer grows while chunks already stand between its pieces.
	var topics []fetchTopic
	var results []fetchResult
	rng := rand.New(rand.NewPCG(9, 10))
	for i := range 60 {
		topic := fetchTopic{name: string(rune('a'+i%26)) + "-topic", id: [16]byte{byte(i)}}
		for j := range rng.IntN(4) {
			topic.partitions = append(topic.partitions, fetchPartition{index: int32(j)})
			res := fetchResult{highWatermark: rng.Int64(), lastStable: rng.Int64(), logStart: rng.Int64(), code: code(rng.IntN(100))}
			for range rng.IntN(3) * 2 {
				chunk := make([]byte, 1+rng.IntN(100))
				for k := range chunk {
					chunk[k] = byte(rng.Uint32())
				}
				res.chunks = append(res.chunks, chunk)
				res.size += len(chunk)
			}
			results = append(results, res)
		}
		topics = append(topics, topic)
	}
	for version := int16(4); version <= 17; version++ {
		for _, committed := range []bool{false, true} {
			want := kmsg.NewPtrFetchResponse()
			want.ErrorCode = 5
			n := 0
			for _, topic := range topics {
				rt := kmsg.NewFetchResponseTopic()
				rt.Topic, rt.TopicID = topic.name, topic.id
				for _, p := range topic.partitions {
					rp := kmsg.NewFetchResponseTopicPartition()
					rp.Partition, rp.ErrorCode = p.index, int16(results[n].code)
					rp.HighWatermark, rp.LastStableOffset, rp.LogStartOffset = results[n].highWatermark, results[n].lastStable, results[n].logStart
					rp.RecordBatches = append([]byte{}, bytes.Join(results[n].chunks, nil)...)
					if committed {
						rp.AbortedTransactions = []kmsg.FetchResponseTopicPartitionAbortedTransaction{}
					}
					rt.Partitions = append(rt.Partitions, rp)
					n++
				}
				want.Topics = append(want.Topics, rt)
			}
			want.SetVersion(version)
			req := request{api: row, version: version, correlation: 77}
			got := flatten(encodeFetch(req, 5, topics, results, committed))
			if expected := flatten(encode(req, want)); !bytes.Equal(got, expected) {
				at := 0
				for at < min(len(got), len(expected)) && got[at] == expected[at] {
					at++
				}
				t.Fatalf("version %d: %d bytes, want %d; from byte %d on\n got % x\nwant % x", version, len(got), len(expected), at, got[at:min(at+32, len(got))], expected[at:min(at+32, len(expected))])
			}
		}
	}
}

func TestCountsThatLieAreRefusedBeforeTheyCost(t *testing.T) {
	for _, c := range []struct {
		name string
		body []byte
	}{
		{"topics claimed beyond the frame", []byte{0xff, 0xff, 0, 1, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff}},
		{"negative count", []byte{0xff, 0xff, 0, 1, 0, 0, 0, 0, 0x80, 0, 0, 0}},
		{"null topics", []byte{0xff, 0xff, 0, 1, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff}},
		{"records past the end", []byte{0xff, 0xff, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 'a', 0, 0, 0, 1, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff}},
	} {
		if _, err := decodeProduce(c.body, 3, false); !errors.Is(err, errMalformed) {
			t.Errorf("%s: %v, want malformed", c.name, err)
		}
	}
	// 4 MiB of empty names would be 100 MiB of structs; the total of elements stops it.
	zeros := make([]byte, 4<<20)
	zeros[0], zeros[1] = 0, 0x1f
	if err := checkBody(mustLayout(t, keyMetadata), 0, false, zeros); !errors.Is(err, errMalformed) {
		t.Errorf("two million topics: %v, want malformed", err)
	}
	// A tag count of 2^32-1 keeps kmsg busy for minutes.
	if err := checkBody(mustLayout(t, keyAPIVersions), 3, true, []byte{2, 'a', 2, '1', 0xff, 0xff, 0xff, 0xff, 0x0f}); !errors.Is(err, errMalformed) {
		t.Errorf("endless tags: %v, want malformed", err)
	}
}

func mustLayout(t *testing.T, key int16) []field {
	t.Helper()
	layout, ok := schemaOf(key)
	if !ok {
		t.Fatalf("key %d has no layout", key)
	}
	return layout
}
