package metadata

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/bargedata/barge/objectstore"
)

// Engines a log may lie in.
const (
	EngineBucket   = "bucket"
	EnginePostgres = "postgres"
)

// LogPlacePrefix is where a store says where the cluster's metadata log lies: meta/place/<n>, n in 20 digits, the largest n holds.
const LogPlacePrefix = "meta/place/"

// FirstLogPrefix is where a log in the bucket lies that was never moved. One that was moved there lies beside it, under MovedLogPrefix
// and a name of its own.
const (
	FirstLogPrefix = "meta/0"
	MovedLogPrefix = "meta/0."
)

// maxLogPlaceBytes bounds an object under LogPlacePrefix.
const maxLogPlaceBytes = 64 << 10

// LogPlace is where the metadata log of a cluster lies. A log is moved by the next number, never by a change. Source: docs/format/store.md.
type LogPlace struct {
	N      uint64 `json:"-"`                // of the key; 0: nothing is written down, and the log lies in the bucket
	Engine string `json:"engine"`           // EngineBucket or EnginePostgres
	Prefix string `json:"prefix,omitempty"` // bucket: of the log's keys
	Log    string `json:"log,omitempty"`    // postgres: id of the log
	Where  string `json:"where,omitempty"`  // postgres: for people, as the first agent had it
	Since  string `json:"since"`            // RFC 3339, for people
}

func (p LogPlace) String() string {
	if p.Engine == EnginePostgres {
		return fmt.Sprintf("PostgreSQL (log %s, at first at %s)", p.Log, p.Where)
	}
	return fmt.Sprintf("the bucket (under %s/)", p.Prefix)
}

// Key is where the place is written down.
func (p LogPlace) Key() string { return fmt.Sprintf("%s%020d", LogPlacePrefix, p.N) }

// Encode is what is written there.
func (p LogPlace) Encode() ([]byte, error) { return json.Marshal(p) }

// LogPlaceNumber reads the number out of a key; ok is false for keys of another form.
func LogPlaceNumber(key string) (n uint64, ok bool) {
	digits, ok := strings.CutPrefix(key, LogPlacePrefix)
	if !ok || len(digits) != 20 {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 10, 64)
	return n, err == nil && n > 0
}

// ParseLogPlace reads what lies under key. Errors: ErrCorrupt; ErrNewer - the log lies in an engine that this barge does not know.
func ParseLogPlace(key string, body []byte) (LogPlace, error) {
	n, ok := LogPlaceNumber(key)
	var p LogPlace
	if err := json.Unmarshal(body, &p); err != nil || !ok {
		return LogPlace{}, fmt.Errorf("%s is not what an agent wrote (%d bytes); was it changed by hand?: %w", key, len(body), ErrCorrupt)
	}
	p.N = n
	moved, isMoved := strings.CutPrefix(p.Prefix, MovedLogPrefix)
	switch {
	case p.Engine == EngineBucket && (p.Prefix == FirstLogPrefix || isMoved && moved != "" && !strings.ContainsAny(moved, "/.")),
		p.Engine == EnginePostgres && p.Log != "":
		return p, nil
	case p.Engine == EngineBucket || p.Engine == EnginePostgres:
		return LogPlace{}, fmt.Errorf("%s names no log (%d bytes); was it changed by hand?: %w", key, len(body), ErrCorrupt)
	}
	return LogPlace{}, fmt.Errorf("%w: %s says that the log lies in %q, which this one does not know; upgrade barge", ErrNewer, key, p.Engine)
}

// PlaceStore is what reading a place needs of a store.
type PlaceStore interface {
	Get(ctx context.Context, key string, maxBytes int64) ([]byte, error)
	List(ctx context.Context, prefix, after string, limit int) ([]objectstore.Object, error)
}

// ReadLogPlace returns where the log lies by the newest word of the store. Without any, N is 0 and the place is the bucket. Errors:
// ParseLogPlace's, or the store's.
func ReadLogPlace(ctx context.Context, store PlaceStore) (LogPlace, error) {
	newest, after := "", ""
	for {
		const page = 1000
		objects, err := store.List(ctx, LogPlacePrefix, after, page)
		if err != nil {
			return LogPlace{}, fmt.Errorf("list %s: %w", LogPlacePrefix, err)
		}
		for _, o := range objects {
			after = o.Key
			if _, ok := LogPlaceNumber(o.Key); ok {
				newest = o.Key // in their order
			}
		}
		if len(objects) < page {
			break
		}
	}
	if newest == "" {
		return LogPlace{Engine: EngineBucket, Prefix: FirstLogPrefix}, nil
	}
	body, err := store.Get(ctx, newest, maxLogPlaceBytes)
	if errors.Is(err, objectstore.ErrTooLarge) {
		return LogPlace{}, fmt.Errorf("get %s: %w: %w", newest, ErrCorrupt, err)
	}
	if err != nil {
		return LogPlace{}, fmt.Errorf("get %s: %w", newest, err)
	}
	return ParseLogPlace(newest, body)
}
