package metadata_test

import (
	"errors"
	"testing"

	"github.com/bargedata/barge/metadata"
)

// A handle acts in the term it acquired last and in no other; I4 rests on it where one handle has acquired twice.
func TestHandleActsInItsLastTermOnly(t *testing.T) {
	for _, c := range []struct {
		name          string
		term, held    uint64
		ended         bool
		good, isFence bool
	}{
		{name: "the term it holds", term: 3, held: 3, good: true},
		{name: "an earlier one", term: 2, held: 3, isFence: true},
		{name: "one that has ended", term: 3, held: 3, ended: true, isFence: true},
		{name: "one it never acquired", term: 4, held: 3},
		{name: "none acquired", term: 0, held: 0},
	} {
		err := metadata.CheckTerm(c.term, c.held, c.ended)
		if (err == nil) != c.good || errors.Is(err, metadata.ErrFenced) != c.isFence {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
