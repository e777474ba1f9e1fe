package s3_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/bargedata/barge/objectstore"
	"github.com/bargedata/barge/objectstore/s3"
)

func TestParseURL(t *testing.T) {
	for raw, want := range map[string]s3.Config{
		"s3://bucket":                       {Bucket: "bucket", Secure: true},
		"s3://bucket/?region=eu-west-1":     {Bucket: "bucket", Secure: true, Region: "eu-west-1"},
		"s3://bucket/a/b/?region=eu-west-1": {Bucket: "bucket", Prefix: "a/b", Secure: true, Region: "eu-west-1"},
		"s3://bucket/prefix?endpoint=http://127.0.0.1:7070&region=us-east-1": {Bucket: "bucket", Prefix: "prefix", Endpoint: "127.0.0.1:7070", Region: "us-east-1"},
		"s3://my.bucket/p@1?endpoint=https://minio.example/":                 {Bucket: "my.bucket", Prefix: "p@1", Endpoint: "minio.example", Secure: true, Region: s3.DefaultRegion},
	} {
		if got, err := s3.ParseURL(raw); err != nil || got != want {
			t.Errorf("%s:\n got %+v, %v\nwant %+v", raw, got, err, want)
		}
	}
	for raw, want := range map[string]string{
		"http://bucket":                      "want s3://bucket/prefix",
		"s3:///prefix":                       "no bucket",
		"s3://ak:sk@bucket":                  "keys do not belong in the URL",
		"s3://bucket?endpiont=http://x":      `did you mean "endpoint"`,
		"s3://bucket?Region=x":               `did you mean "region"`,
		"s3://bucket?x=y":                    "Known: endpoint, region",
		"s3://bucket?region=a&region=b":      "2 times",
		"s3://bucket?endpoint=127.0.0.1:70":  "http://host:port",
		"s3://bucket?endpoint=http://h/path": "only scheme, host and port",
		"s3://bucket/a/../b":                 "prefix",
		"s3://bucket/a b":                    "prefix",
		"s3://bucket#x":                      "#",
	} {
		if got, err := s3.ParseURL(raw); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %+v, %v, want an error with %q", raw, got, err, want)
		}
	}
}

func TestValidateNamesTheFix(t *testing.T) {
	good := s3.Config{Bucket: "bucket", Region: "r", AccessKey: "a", SecretKey: "s"}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	noKeys := good
	noKeys.SecretKey = ""
	if err := noKeys.Validate(); !errors.Is(err, objectstore.ErrDenied) || !strings.Contains(err.Error(), "AWS_SECRET_ACCESS_KEY") {
		t.Errorf("no keys: %v", err)
	}
	noRegion := good
	noRegion.Region = ""
	if err := noRegion.Validate(); err == nil || !strings.Contains(err.Error(), "?region=") {
		t.Errorf("no region: %v", err)
	}
	noBucket := good
	noBucket.Bucket = ""
	if err := noBucket.Validate(); err == nil || !strings.Contains(err.Error(), "s3://BUCKET") {
		t.Errorf("no bucket: %v", err)
	}
}
