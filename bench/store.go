package bench

import (
	"bytes"
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/bargedata/barge/record"
)

// StoreConfig says what kind of bucket a Store plays.
type StoreConfig struct {
	KeepBytes int64 // of objects under wal/; 0 throws their bodies away
	Latency   Profile
	Seed      uint64 // of the latencies
	Verify    bool   // refuse bodies that are not what their x-amz-checksum-crc32c header says, as S3 does
}

// maxObject is the largest body a Store takes.
const maxObject = 1 << 30

// otherBytes bounds what is kept beside wal/: the metadata log of a run of hours, tables of a short one.
const otherBytes = 1 << 30

// Store is a bucket in memory that speaks as much of S3 as an agent uses: PutObject (also with If-None-Match: *),
// GetObject with and without a range, ListObjectsV2, DeleteObject and DeleteObjects, of one bucket of any name in path
// style. It believes every signature. Bodies under wal/ are read and thrown away, unless StoreConfig.KeepBytes says
// otherwise: the agent's CPU is what is measured, and a store that keeps much would fill the memory of the machine. A key
// that holds nothing any more answers 404. Safe for concurrent use; it is an http.Handler.
type Store struct {
	cfg    StoreConfig
	delays *delays
	bodies sync.Pool // of *[]byte

	mu      sync.Mutex
	objects map[string][]byte
	kept    int64 // bytes under wal/
	other   int64 // bytes of all else

	requests [len(storeMethods)]atomic.Int64
	received atomic.Int64
	sent     atomic.Int64
}

// storeMethods are what is counted.
var storeMethods = [...]string{"put", "get", "list", "delete", "other"}

const (
	methodPut = iota
	methodGet
	methodList
	methodDelete
	methodOther
)

// NewStore makes an empty one.
func NewStore(cfg StoreConfig) *Store {
	return &Store{
		cfg: cfg, delays: newDelays(cfg.Latency, cfg.Seed), objects: make(map[string][]byte),
		bodies: sync.Pool{New: func() any { b := make([]byte, 1<<20); return &b }},
	}
}

// ServeHTTP implements http.Handler.
func (s *Store) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	key, _ := strings.CutPrefix(r.URL.Path, "/")
	_, key, _ = strings.Cut(key, "/") // the bucket
	query := r.URL.Query()
	switch {
	case r.Method == http.MethodPut && key != "":
		s.requests[methodPut].Add(1)
		s.put(w, r, key)
	case r.Method == http.MethodGet && key != "":
		s.requests[methodGet].Add(1)
		s.get(w, r, key)
	case r.Method == http.MethodGet && query.Get("list-type") == "2":
		s.requests[methodList].Add(1)
		s.list(w, query.Get("prefix"), max(query.Get("start-after"), query.Get("continuation-token")), query.Get("max-keys"))
	case r.Method == http.MethodDelete && key != "":
		s.requests[methodDelete].Add(1)
		s.remove(key)
		w.WriteHeader(http.StatusNoContent)
	case r.Method == http.MethodPost && query.Has("delete"):
		s.requests[methodDelete].Add(1)
		s.removeMany(w, r)
	default:
		s.requests[methodOther].Add(1)
		fail(w, http.StatusNotImplemented, "NotImplemented")
	}
}

func (s *Store) put(w http.ResponseWriter, r *http.Request, key string) {
	switch {
	case r.ContentLength < 0:
		fail(w, http.StatusLengthRequired, "MissingContentLength")
		return
	case r.ContentLength > maxObject:
		fail(w, http.StatusBadRequest, "EntityTooLarge")
		return
	}
	body, crc, err := s.read(r, s.keeps(key))
	if err != nil {
		fail(w, http.StatusBadRequest, "IncompleteBody")
		return
	}
	s.received.Add(r.ContentLength)
	if want := r.Header.Get("X-Amz-Checksum-Crc32c"); s.cfg.Verify && want != "" && want != checksumHeader(crc) {
		fail(w, http.StatusBadRequest, "BadDigest")
		return
	}
	s.delays.put(r.Context(), r.ContentLength)
	s.mu.Lock()
	old, taken := s.objects[key]
	switch {
	case taken && r.Header.Get("If-None-Match") == "*":
		s.mu.Unlock()
		fail(w, http.StatusPreconditionFailed, "PreconditionFailed")
		return
	case body != nil && !s.room(key, int64(len(body)-len(old))):
		s.mu.Unlock()
		fail(w, http.StatusInsufficientStorage, "QuotaExceeded") // the word of stores with quotas
		return
	case body != nil:
		s.objects[key] = body
	}
	s.mu.Unlock()
	w.Header().Set("ETag", `"0"`)
	w.WriteHeader(http.StatusOK)
}

// keeps tells whether a key's body is kept. The caller need not hold mu.
func (s *Store) keeps(key string) bool { return s.cfg.KeepBytes > 0 || !isData(key) }

// isData tells keys that hold records. A prefix of the store is not counted in.
func isData(key string) bool { return strings.Contains("/"+key, "/wal/") }

// room takes n bytes for a key; mu is held.
func (s *Store) room(key string, n int64) bool {
	used, limit := &s.other, int64(otherBytes)
	if isData(key) {
		used, limit = &s.kept, s.cfg.KeepBytes
	}
	if n > 0 && *used+n > limit {
		return false
	}
	*used += n
	return true
}

// read takes a body in. It is nil unless it is kept.
func (s *Store) read(r *http.Request, keep bool) (body []byte, crc uint32, err error) {
	if keep {
		body = make([]byte, r.ContentLength)
		if _, err := io.ReadFull(r.Body, body); err != nil {
			return nil, 0, err
		}
		return body, record.Checksum(body), nil
	}
	scratch := s.bodies.Get().(*[]byte) //nolint:errcheck,forcetypeassert // the pool holds nothing else
	defer s.bodies.Put(scratch)
	for left := r.ContentLength; left > 0; {
		n, err := r.Body.Read((*scratch)[:min(left, int64(len(*scratch)))])
		if s.cfg.Verify {
			crc = record.UpdateChecksum(crc, (*scratch)[:n])
		}
		if left -= int64(n); err != nil && left > 0 {
			return nil, 0, err
		}
	}
	return nil, crc, nil
}

func checksumHeader(crc uint32) string {
	return base64.StdEncoding.EncodeToString([]byte{byte(crc >> 24), byte(crc >> 16), byte(crc >> 8), byte(crc)})
}

func (s *Store) get(w http.ResponseWriter, r *http.Request, key string) {
	s.mu.Lock()
	body, ok := s.objects[key]
	s.mu.Unlock()
	if !ok {
		fail(w, http.StatusNotFound, "NoSuchKey")
		return
	}
	status := http.StatusOK
	size := len(body)
	if spec := r.Header.Get("Range"); spec != "" {
		first, last, err := parseRange(spec, size)
		if err != nil {
			fail(w, http.StatusRequestedRangeNotSatisfiable, "InvalidRange")
			return
		}
		status = http.StatusPartialContent
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", first, last, size))
		body = body[first : last+1]
	}
	s.delays.get(r.Context(), int64(len(body)))
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.Header().Set("ETag", `"0"`)
	w.Header().Set("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
	w.WriteHeader(status)
	n, _ := w.Write(body) // the agent is gone: nobody to tell
	s.sent.Add(int64(n))
}

// parseRange reads bytes=first-last, the only form an agent uses.
func parseRange(spec string, size int) (first, last int, err error) {
	if _, err := fmt.Sscanf(spec, "bytes=%d-%d", &first, &last); err != nil {
		return 0, 0, fmt.Errorf("range %q: %w", spec, err)
	}
	if first < 0 || first > last || first >= size {
		return 0, 0, fmt.Errorf("range %q of %d bytes", spec, size)
	}
	return first, min(last, size-1), nil
}

// listing is the answer to ListObjectsV2.
type listing struct {
	XMLName               xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ ListBucketResult"`
	Prefix                string
	KeyCount              int
	MaxKeys               int
	IsTruncated           bool
	NextContinuationToken string         `xml:",omitempty"`
	Contents              []listedObject `xml:",omitempty"`
}

type listedObject struct {
	Key          string
	Size         int
	ETag         string
	LastModified string
	StorageClass string
}

func (s *Store) list(w http.ResponseWriter, prefix, after, limit string) {
	most, err := strconv.Atoi(limit)
	if err != nil || most < 1 || most > 1000 {
		most = 1000
	}
	out := listing{Prefix: prefix, MaxKeys: most}
	s.mu.Lock()
	var keys []string
	for key := range s.objects {
		if strings.HasPrefix(key, prefix) && key > after {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	for _, key := range keys {
		if len(out.Contents) == most {
			out.IsTruncated, out.NextContinuationToken = true, out.Contents[most-1].Key
			break
		}
		out.Contents = append(out.Contents, listedObject{key, len(s.objects[key]), `"0"`, "2026-01-01T00:00:00.000Z", "STANDARD"})
	}
	s.mu.Unlock()
	out.KeyCount = len(out.Contents)
	writeXML(w, http.StatusOK, out)
}

func (s *Store) remove(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if body, ok := s.objects[key]; ok {
		_ = s.room(key, -int64(len(body))) // giving back always succeeds
		delete(s.objects, key)
	}
}

func (s *Store) removeMany(w http.ResponseWriter, r *http.Request) {
	var ask struct {
		Object []struct{ Key string }
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, 4<<20))
	if err == nil {
		err = xml.Unmarshal(body, &ask)
	}
	if err != nil {
		fail(w, http.StatusBadRequest, "MalformedXML")
		return
	}
	for _, o := range ask.Object {
		s.remove(o.Key)
	}
	writeXML(w, http.StatusOK, struct {
		XMLName xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ DeleteResult"`
	}{})
}

func fail(w http.ResponseWriter, status int, code string) {
	writeXML(w, status, struct {
		XMLName xml.Name `xml:"Error"`
		Code    string
		Message string
	}{Code: code, Message: code})
}

func writeXML(w http.ResponseWriter, status int, v any) {
	var b bytes.Buffer
	b.WriteString(xml.Header)
	if err := xml.NewEncoder(&b).Encode(v); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/xml")
	w.Header().Set("Content-Length", strconv.Itoa(b.Len()))
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // the agent is gone: nobody to tell
}

// counters are what the store has to tell beside its process.
func (s *Store) counters() map[string]float64 {
	out := map[string]float64{
		"bench_store_received_bytes_total": float64(s.received.Load()),
		"bench_store_sent_bytes_total":     float64(s.sent.Load()),
	}
	for i, name := range storeMethods {
		out[storeRequests(name)] = float64(s.requests[i].Load())
	}
	return out
}

func storeRequests(method string) string {
	return `bench_store_requests_total{method="` + method + `"}`
}
