package s3

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/bargedata/barge/objectstore"
)

// DefaultRegion is used with an explicit endpoint, where most servers do not care.
const DefaultRegion = "us-east-1"

// Config says where the bucket is and who asks. ParseURL fills all but the keys.
type Config struct {
	// Endpoint is host or host:port without a scheme; empty means AWS in Region. An explicit endpoint is addressed in
	// path style (endpoint/bucket/key), AWS in its own style.
	Endpoint string
	// Secure is TLS; with an empty Endpoint it is always on.
	Secure bool
	Region string
	Bucket string
	// Prefix goes before every key; empty, or a valid key (a final slash is added).
	Prefix string

	AccessKey, SecretKey string
	SessionToken         string // of temporary credentials; usually empty

	// Connections is how many idle connections are kept, 0 means 64. More are opened when needed: requests are bounded
	// by the callers' own buffers, and a queue here would hide a slow store from the hedging.
	Connections int
	// RootCAs are what TLS servers are checked against; nil means the system's.
	RootCAs *x509.CertPool
	// Transport replaces the HTTP transport, for tests; nil means one of our own.
	Transport http.RoundTripper
}

// Validate tells the first thing wrong with the configuration, and what to change.
func (c Config) Validate() error {
	switch {
	case c.Bucket == "":
		return errors.New("s3: no bucket: write s3://BUCKET/PREFIX")
	case c.Region == "" && c.Endpoint == "":
		return errors.New("s3: no region: add ?region=REGION to the store's URL, or ?endpoint=URL for a server that is not AWS")
	case c.AccessKey == "" || c.SecretKey == "":
		return fmt.Errorf("s3: bucket %s: %w: no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY", c.Bucket, objectstore.ErrDenied)
	case c.Connections < 0:
		return fmt.Errorf("s3: %d connections", c.Connections)
	}
	if c.Prefix != "" {
		if err := objectstore.ValidKey(strings.TrimSuffix(c.Prefix, "/")); err != nil {
			return fmt.Errorf("s3: prefix: %w", err)
		}
	}
	return nil
}

// parameters of the URL.
func parameters() []string { return []string{"endpoint", "region"} }

// ParseURL reads s3://bucket/prefix?endpoint=http://127.0.0.1:7070&region=us-east-1. Both parameters are optional: without
// an endpoint it is AWS, and then a region is required (Validate tells). Keys never stand in the URL; the caller adds them.
func ParseURL(raw string) (Config, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return Config{}, fmt.Errorf("s3: %w", err)
	}
	switch {
	case u.Scheme != "s3":
		return Config{}, fmt.Errorf("s3: %s: scheme %q, want s3://bucket/prefix", raw, u.Scheme)
	case u.Host == "":
		return Config{}, fmt.Errorf("s3: %s: no bucket: write s3://BUCKET/PREFIX", raw)
	case u.User != nil:
		return Config{}, errors.New("s3: keys do not belong in the URL, where every process list shows them: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
	case u.Fragment != "":
		return Config{}, fmt.Errorf("s3: %s: # has no meaning here", raw)
	}
	c := Config{Bucket: u.Host, Prefix: strings.Trim(u.Path, "/"), Secure: true}
	if c.Prefix != "" {
		if err := objectstore.ValidKey(c.Prefix); err != nil {
			return Config{}, fmt.Errorf("s3: %s: prefix: %w", raw, err)
		}
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return Config{}, fmt.Errorf("s3: %s: %w", raw, err)
	}
	for name, values := range query {
		if !slices.Contains(parameters(), name) {
			return Config{}, fmt.Errorf("s3: %s: unknown parameter %q, did you mean %q? Known: %s", raw, name, nearest(name), strings.Join(parameters(), ", "))
		}
		if len(values) > 1 {
			return Config{}, fmt.Errorf("s3: %s: parameter %q is given %d times", raw, name, len(values))
		}
	}
	c.Region = query.Get("region")
	if query.Has("endpoint") {
		if c.Endpoint, c.Secure, err = parseEndpoint(query.Get("endpoint")); err != nil {
			return Config{}, fmt.Errorf("s3: %s: %w", raw, err)
		}
		if c.Region == "" {
			c.Region = DefaultRegion
		}
	}
	return c, nil
}

func parseEndpoint(raw string) (host string, secure bool, err error) {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return "", false, fmt.Errorf("endpoint %q: want http://host:port or https://host:port", raw)
	}
	if strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return "", false, fmt.Errorf("endpoint %q: only scheme, host and port; the bucket and prefix stand before the ?", raw)
	}
	return u.Host, u.Scheme == "https", nil
}

// nearest is the parameter that shares the longest start with name; the first one when none does.
func nearest(name string) string {
	common := func(p string) int {
		n := 0
		for n < min(len(p), len(name)) && p[n] == name[n]|0x20 {
			n++
		}
		return n
	}
	return slices.MaxFunc(parameters(), func(a, b string) int { return common(a) - common(b) })
}
