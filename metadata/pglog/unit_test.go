package pglog

import (
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/metadata/logtest"
)

// TestHashOfAnEntryStaysAsItIs: golden values; what an entry hashes to never changes.
func TestHashOfAnEntryStaysAsItIs(t *testing.T) {
	for _, c := range []struct {
		e    entry
		want string
	}{
		{entry{seq: 0, term: 1, kind: kindClaim, id: logtest.ID(1), body: []byte("agent:9092")}, "fb4d9771ab6390ef"},
		{entry{seq: 7, term: 3, kind: kindEntry, id: logtest.ID(2), prev: hash{1, 2, 3}, body: []byte{0, 0xff}}, "a1c072e91a558088"},
		{entry{seq: 1 << 40, term: 1 << 33, kind: kindEntry, id: logtest.ID(3), prev: hash{31: 9}}, "deb6fa1f7ef0d302"},
	} {
		sum := c.e.sum()
		if got := hex.EncodeToString(sum[:8]); got != c.want {
			t.Errorf("entry %d hashes to %s, want %s", c.e.seq, got, c.want)
		}
	}
}

func good() row {
	e := entry{seq: 7, term: 3, kind: kindEntry, id: logtest.ID(2), prev: hash{1, 2, 3}, body: []byte("body")}
	sum := e.sum()
	return row{seq: 7, term: 3, kind: 1, id: e.id[:], prev: e.prev[:], hash: sum[:], body: e.body}
}

func TestRowIsCheckedWhole(t *testing.T) {
	r := good()
	if e, _, err := r.check(); err != nil || e.seq != 7 || string(e.body) != "body" {
		t.Fatalf("%+v, %v", e, err)
	}
	for name, damage := range map[string]func(*row){
		"seq":        func(r *row) { r.seq++ },
		"negative":   func(r *row) { r.seq = -1 },
		"term":       func(r *row) { r.term++ },
		"no term":    func(r *row) { r.term = 0 },
		"kind":       func(r *row) { r.kind = 2 },
		"no kind":    func(r *row) { r.kind = 9 },
		"id":         func(r *row) { r.id[3] ^= 1 },
		"short id":   func(r *row) { r.id = r.id[:4] },
		"prev":       func(r *row) { r.prev[0] ^= 1 },
		"short prev": func(r *row) { r.prev = nil },
		"hash":       func(r *row) { r.hash[31] ^= 1 },
		"body":       func(r *row) { r.body[0] ^= 1 },
		"longer":     func(r *row) { r.body = append(r.body, 0) },
	} {
		r := good()
		damage(&r)
		if _, _, err := r.check(); !errors.Is(err, metadata.ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzParseWitness(f *testing.F) {
	f.Add(witnessKey(strings.Repeat("0a", 16), 77, hash{1}))
	f.Add(WitnessPrefix + "x/1-2")
	f.Fuzz(func(t *testing.T, key string) {
		if w, ok := ParseWitness(key); ok && witnessKey(w.Log, w.Seq, w.Hash) != key {
			t.Fatalf("%q parses to %+v, which is another key", key, w)
		}
	})
}

func TestSchemaIsNamedByTheCluster(t *testing.T) {
	id := strings.Repeat("0f", 16)
	for cluster, want := range map[string]string{
		id:                  "barge_" + id,
		strings.ToUpper(id): "barge_e724e5cda3bc24967471366ad0958388",
		"prod":              "barge_6754af9632a2745e85c293e5aac08633",
	} {
		if got := SchemaName(cluster); got != want {
			t.Errorf("cluster %q: schema %q, want %q", cluster, got, want)
		}
	}
	if SchemaName("a") == SchemaName("b") || SchemaName(id) == SchemaName(strings.ToUpper(id)) {
		t.Error("two clusters share a schema")
	}
}

func TestPlaceHoldsNoPassword(t *testing.T) {
	for url, want := range map[string]string{
		"postgres://u:secret@h1:1,h2:2/db?sslmode=disable":     "postgres://h1:1,h2:2/db",
		"postgres://h1/db?user=u&password=secret":              "postgres://h1:5432/db",
		"postgresql://u:secret@h1:77/db?sslmode=prefer&x=1":    "postgres://h1:77/db",
		"postgres://u:secret%zz@h1/db":                         "postgres",
		"host=h1 password=secret":                              "postgres",
		"postgres://u:secret@h1:port/db":                       "postgres",
		"postgres://u:secret@h1:5432/db?pool_max_conns=secret": "postgres",
	} {
		if got := Place(url); got != want {
			t.Errorf("%s: %s, want %s", url, got, want)
		}
		if err := ParseURL(url); (err != nil) != (want == "postgres") || err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", url, err)
		}
	}
}

func TestTruncationKeepsWhatSnapshotsNeed(t *testing.T) {
	for _, c := range []struct {
		below, oldest uint64
		snapshots     int64
		want          uint64
	}{{10, 0, 0, 0}, {10, 5, 1, 0}, {10, 5, 2, 5}, {3, 5, 2, 3}} {
		if got := truncateLimit(c.below, c.oldest, c.snapshots); got != c.want {
			t.Errorf("%+v: %d", c, got)
		}
	}
}
