package metadata_test

import (
	"errors"
	"testing"

	"github.com/bargedata/barge/metadata"
)

func TestParseClusterRefusesWhatNoAgentWrote(t *testing.T) {
	c, err := metadata.ParseCluster([]byte(`{"id":"a","format":1,"created":"2026-11-22T09:00:00Z","later":true}`))
	if err != nil || c.ID != "a" || c.Format != 1 {
		t.Errorf("%+v, %v", c, err)
	}
	for body, want := range map[string]error{
		``: metadata.ErrCorrupt, `{}`: metadata.ErrCorrupt, `{"id":1}`: metadata.ErrCorrupt, `[]`: metadata.ErrCorrupt,
		`{"id":"a","format":3}`: metadata.ErrStoreFormat,
	} {
		if _, err := metadata.ParseCluster([]byte(body)); !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", body, err, want)
		}
	}
	// The hash stands in the header of every WAL object, so it can never change.
	if h := (metadata.Cluster{ID: "test"}).Hash(); h != 0xf9e6e6ef197c2b25 {
		t.Errorf("hash %#x", h)
	}
}
