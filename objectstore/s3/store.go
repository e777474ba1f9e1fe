// Package s3 keeps objects in a bucket of any S3-compatible server.
//
//	cfg, err := s3.ParseURL("s3://bucket/prefix?endpoint=http://127.0.0.1:7070&region=us-east-1")
//	cfg.AccessKey, cfg.SecretKey = access, secret
//	store, err := s3.Open(ctx, cfg) // ErrNoBucket, ErrDenied, ErrUnknown when the server does not answer
//
// One call is one request (List and Delete: one per 1000 objects). Nothing is retried here: objectstore.WithRetry does,
// because only it knows which outcomes are ambiguous.
//
// Bodies are sent in one PUT with "x-amz-content-sha256: UNSIGNED-PAYLOAD" and a precomputed x-amz-checksum-crc32c
// header, over http and https alike. The server verifies the CRC, so a body damaged on the way is refused; hashing it
// again with SHA-256 or MD5 would cost as much CPU as everything else an agent does. Over http the bytes go from the
// caller's slice to the socket, without a copy on the way (body.go). Create adds "If-None-Match: *".
package s3

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/bargedata/barge/objectstore"
)

// pageKeys is how many keys S3 lists or deletes per request.
const pageKeys = 1000

var castagnoli = crc32.MakeTable(crc32.Castagnoli) //nolint:gochecknoglobals // read-only table

// Store is a bucket, or a prefix of one. It implements objectstore.Store and is safe for concurrent use.
type Store struct {
	client *minio.Core
	bucket string
	prefix string // empty, or ends in a slash
}

// Open connects to the bucket and lists one object to learn that it exists and may be read. Errors: those of Validate;
// ErrNoBucket, ErrDenied; ErrUnknown when the server does not answer, worth another try.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	options := &minio.Options{
		Creds:        credentials.NewStaticV4(cfg.AccessKey, cfg.SecretKey, cfg.SessionToken),
		Secure:       cfg.Secure,
		Region:       cfg.Region,
		BucketLookup: minio.BucketLookupPath,
		MaxRetries:   1,
		Transport:    transport{next: cfg.Transport},
	}
	endpoint := cfg.Endpoint
	if endpoint == "" {
		endpoint, options.Secure, options.BucketLookup = "s3."+cfg.Region+".amazonaws.com", true, minio.BucketLookupAuto
	}
	if options.Region == "" {
		options.Region = DefaultRegion
	}
	if cfg.Transport == nil {
		options.Transport = transport{next: newTransport(cfg)}
	}
	client, err := minio.NewCore(endpoint, options)
	if err != nil {
		return nil, fmt.Errorf("s3: endpoint %s: %w", endpoint, err)
	}
	s := &Store{client: client, bucket: cfg.Bucket}
	if p := strings.TrimSuffix(cfg.Prefix, "/"); p != "" {
		s.prefix = p + "/"
	}
	if _, err := s.List(ctx, "", "", 1); err != nil {
		return nil, fmt.Errorf("open bucket %s at %s: %w%s", cfg.Bucket, client.EndpointURL(), err, advice(err))
	}
	return s, nil
}

// advice is the way out of an error of Open.
func advice(err error) string {
	switch {
	case errors.Is(err, objectstore.ErrNoBucket):
		return " (create the bucket first, or correct the store's URL)"
	case errors.Is(err, objectstore.ErrDenied):
		return " (check the access key, its secret, and that its policy allows s3:ListBucket, s3:GetObject, s3:PutObject and s3:DeleteObject)"
	default:
		return ""
	}
}

// Create implements objectstore.Store. The time is the response's Date header.
func (s *Store) Create(ctx context.Context, key string, body []byte) (time.Time, error) {
	var date time.Time
	options := minio.PutObjectOptions{}
	options.SetMatchETagExcept("*")
	err := s.put(withDate(ctx, &date), key, body, options)
	if err != nil {
		return time.Time{}, fmt.Errorf("create %s (%d bytes): %w", s.describe(key), len(body), err)
	}
	return date, nil
}

// Put implements objectstore.Store.
func (s *Store) Put(ctx context.Context, key string, body []byte) error {
	if err := s.put(ctx, key, body, minio.PutObjectOptions{}); err != nil {
		return fmt.Errorf("put %s (%d bytes): %w", s.describe(key), len(body), err)
	}
	return nil
}

func (s *Store) put(ctx context.Context, key string, body []byte, options minio.PutObjectOptions) error {
	name, err := s.name(key)
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	// minio-go: the checksum counts as metadata, which keeps it from adding a trailer; DisableContentSha256 is what
	// makes the payload unsigned over plain http too; and Core.PutObject neither splits the body nor insists on
	// trailer support as Client.PutObject does.
	options.DisableContentSha256 = true
	options.UserMetadata = map[string]string{"X-Amz-Checksum-Crc32c": checksum(ctx, body)}
	lent := &lentBody{body: body}
	defer lent.release()
	_, err = s.client.PutObject(withBody(ctx, lent), s.bucket, name, lent, int64(len(body)), "", "", options)
	return classify(ctx, err)
}

// checksum is the value of the header: of what the caller knows, or else of the body.
func checksum(ctx context.Context, body []byte) string {
	crc, known := objectstore.ChecksumOf(ctx)
	if !known {
		crc = crc32.Checksum(body, castagnoli)
	}
	return base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, crc))
}

// Get implements objectstore.Store.
func (s *Store) Get(ctx context.Context, key string, maxBytes int64) ([]byte, error) {
	body, err := s.get(ctx, key, maxBytes)
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", s.describe(key), err)
	}
	return body, nil
}

func (s *Store) get(ctx context.Context, key string, maxBytes int64) ([]byte, error) {
	reader, header, err := s.open(ctx, key, minio.GetObjectOptions{})
	if err != nil {
		return nil, err
	}
	defer closeBody(reader)
	size, err := strconv.ParseInt(header.Get("Content-Length"), 10, 64)
	if err != nil || size < 0 {
		return nil, fmt.Errorf("server sent no length: Content-Length %q", header.Get("Content-Length"))
	}
	if size > maxBytes {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", objectstore.ErrTooLarge, size, maxBytes)
	}
	return readBody(ctx, reader, size)
}

// GetRange implements objectstore.Store.
func (s *Store) GetRange(ctx context.Context, key string, pos, length int64) ([]byte, error) {
	if err := objectstore.CheckRange(key, pos, length); err != nil {
		return nil, err
	}
	if length == 0 {
		return []byte{}, nil
	}
	body, err := s.getRange(ctx, key, pos, length)
	if err != nil {
		return nil, fmt.Errorf("get %s (%d bytes at %d): %w", s.describe(key), length, pos, err)
	}
	return body, nil
}

func (s *Store) getRange(ctx context.Context, key string, pos, length int64) ([]byte, error) {
	options := minio.GetObjectOptions{}
	options.Set("Range", fmt.Sprintf("bytes=%d-%d", pos, pos+length-1))
	reader, header, err := s.open(ctx, key, options)
	if err != nil {
		return nil, err
	}
	defer closeBody(reader)
	// The server may shorten a range at the object's end, and a poor one ignores it: trust only what it says it sent.
	if err := checkContentRange(header.Get("Content-Range"), pos, length); err != nil {
		return nil, err
	}
	return readBody(ctx, reader, length)
}

func checkContentRange(got string, pos, length int64) error {
	var first, last, size int64
	if n, err := fmt.Sscanf(got, "bytes %d-%d/%d", &first, &last, &size); err != nil || n != 3 || first != pos {
		return fmt.Errorf("server does not honor ranges: asked for bytes %d-%d, got Content-Range %q", pos, pos+length-1, got)
	}
	if size < pos+length {
		return fmt.Errorf("object has %d bytes: %w", size, io.ErrUnexpectedEOF)
	}
	if last != pos+length-1 {
		return fmt.Errorf("server does not honor ranges: asked for bytes %d-%d, got Content-Range %q", pos, pos+length-1, got)
	}
	return nil
}

func (s *Store) open(ctx context.Context, key string, options minio.GetObjectOptions) (io.ReadCloser, http.Header, error) {
	name, err := s.name(key)
	if err != nil {
		return nil, nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	reader, _, header, err := s.client.GetObject(ctx, s.bucket, name, options)
	if err != nil {
		return nil, nil, classify(ctx, err)
	}
	return reader, header, nil
}

// readBody reads exactly size bytes, straight into the slice it returns.
func readBody(ctx context.Context, r io.Reader, size int64) ([]byte, error) {
	body := make([]byte, size)
	if n, err := io.ReadFull(r, body); err != nil {
		if ctx.Err() != nil {
			return nil, fmt.Errorf("%w: %w: body cut short after %d of %d bytes", objectstore.ErrUnknown, ctx.Err(), n, size)
		}
		// Not %w for err: it is io.ErrUnexpectedEOF, which callers take for the object's end.
		return nil, fmt.Errorf("%w: body cut short after %d of %d bytes: %s", objectstore.ErrUnknown, n, size, err.Error())
	}
	return body, nil
}

// closeBody ends a response. After a complete read its error means nothing, after an incomplete one there is a better.
func closeBody(r io.Closer) { _ = r.Close() }

// List implements objectstore.Store. It refuses a server that does not list in key order (S3 Express).
func (s *Store) List(ctx context.Context, prefix, after string, limit int) ([]objectstore.Object, error) {
	if err := objectstore.CheckList(prefix, limit); err != nil {
		return nil, err
	}
	objects, err := s.list(ctx, prefix, after, limit)
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", s.describe(prefix), err)
	}
	return objects, nil
}

func (s *Store) list(ctx context.Context, prefix, after string, limit int) ([]objectstore.Object, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	owner := false
	options := minio.ListObjectsOptions{Prefix: s.prefix + prefix, Recursive: true, MaxKeys: min(limit, pageKeys), FetchOwner: &owner}
	if after != "" {
		options.StartAfter = s.prefix + after
	}
	var out []objectstore.Object
	last := after
	for info := range s.client.ListObjectsIter(ctx, s.bucket, options) {
		if info.Err != nil {
			return nil, classify(ctx, info.Err)
		}
		key := strings.TrimPrefix(info.Key, s.prefix)
		if objectstore.ValidKey(key) != nil {
			continue // somebody else's, such as the "folder/" markers of consoles
		}
		if key <= last {
			return nil, fmt.Errorf("server lists %s after %s: it must list in key order", key, last)
		}
		last = key
		out = append(out, objectstore.Object{Key: key, Size: info.Size})
		if len(out) == limit {
			return out, nil
		}
	}
	// The iterator ends without a word when the context does.
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return out, nil
}

// Delete implements objectstore.Store.
func (s *Store) Delete(ctx context.Context, keys ...string) error {
	names := make([]string, len(keys))
	for i, key := range keys {
		name, err := s.name(key)
		if err != nil {
			return fmt.Errorf("delete: %w", err)
		}
		names[i] = name
	}
	var errs []error
	for len(names) > 0 {
		n := min(len(names), pageKeys)
		if err := s.deletePage(ctx, names[:n]); err != nil {
			errs = append(errs, err)
			if len(errs) >= maxDeleteErrors {
				break
			}
		}
		names = names[n:]
	}
	return errors.Join(errs...)
}

// maxDeleteErrors bounds the text of an error about very many keys.
const maxDeleteErrors = 10

func (s *Store) deletePage(ctx context.Context, names []string) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("delete %d objects of %s: %w", len(names), s.bucket, err)
	}
	if len(names) == 1 {
		err := classify(ctx, s.client.RemoveObject(ctx, s.bucket, names[0], minio.RemoveObjectOptions{}))
		if err != nil && !errors.Is(err, objectstore.ErrNotFound) {
			return fmt.Errorf("delete s3://%s/%s: %w", s.bucket, names[0], err)
		}
		return nil
	}
	objects := make(chan minio.ObjectInfo, len(names))
	for _, name := range names {
		objects <- minio.ObjectInfo{Key: name}
	}
	close(objects)
	var errs []error
	failed := 0
	// Read to the end: minio-go's goroutines wait for it.
	for result := range s.client.RemoveObjects(ctx, s.bucket, objects, minio.RemoveObjectsOptions{}) {
		err := classify(ctx, result.Err)
		if errors.Is(err, objectstore.ErrNotFound) {
			continue
		}
		if failed++; failed <= maxDeleteErrors {
			errs = append(errs, fmt.Errorf("delete s3://%s/%s: %w", s.bucket, result.ObjectName, err))
		}
	}
	if failed > maxDeleteErrors {
		errs = append(errs, fmt.Errorf("and %d other objects", failed-maxDeleteErrors))
	}
	return errors.Join(errs...)
}

func (s *Store) name(key string) (string, error) {
	if err := objectstore.ValidKey(key); err != nil {
		return "", err
	}
	name := s.prefix + key
	if len(name) > objectstore.MaxKeyBytes {
		return "", fmt.Errorf("%w: %d bytes with the prefix %s, at most %d", objectstore.ErrInvalidKey, len(name), s.prefix, objectstore.MaxKeyBytes)
	}
	return name, nil
}

func (s *Store) describe(key string) string { return "s3://" + s.bucket + "/" + s.prefix + key }
