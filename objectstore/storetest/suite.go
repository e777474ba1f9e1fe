package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bargedata/barge/objectstore"
)

// Factory returns an empty store; it cleans up through t.
type Factory func(t *testing.T) objectstore.Store

// Run runs the conformance suite, each case on a store of its own.
func Run(t *testing.T, factory Factory) {
	t.Helper()
	for _, c := range []struct {
		name string
		test func(t *testing.T, s objectstore.Store)
	}{
		{"CreateWritesOnceAndRefusesLater", createOnce},
		{"RacingCreatesHaveOneWinnerWhoseBytesStay", racingCreate},
		{"CreateTellsTheTimeOfTheWrite", createTime},
		{"PutMayBeRepeated", putRepeated},
		{"BodiesBelongToTheCaller", bodyOwnership},
		{"RangesAreExact", ranges},
		{"GetIsBounded", getBounded},
		{"MissingObjectsAreNotFound", missing},
		{"EmptyObjects", empty},
		{"LargeObjects", large},
		{"ListsInByteOrderOfWholeKeys", listOrder},
		{"ListsByPageAndPrefix", listPages},
		{"DeleteMayBeRepeated", deleteRepeated},
		{"DeletedKeysCanBeCreatedAgain", createAfterDelete},
		{"KeysOfOddButValidBytes", oddKeys},
		{"InvalidKeysAreRefused", invalidKeys},
		{"EndedContextsAreObeyed", contextEnds},
		{"ConcurrentMix", concurrentMix},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, factory(t)) })
	}
}

const maxBytes = 64 << 20

func create(t *testing.T, s objectstore.Store, key, body string) {
	t.Helper()
	if _, err := s.Create(t.Context(), key, []byte(body)); err != nil {
		t.Fatalf("create %s: %v", key, err)
	}
}

func wantBody(t *testing.T, s objectstore.Store, key, want string) {
	t.Helper()
	got, err := s.Get(t.Context(), key, maxBytes)
	if err != nil {
		t.Fatalf("get %s: %v", key, err)
	}
	if string(got) != want {
		t.Fatalf("get %s = %.60q (%d bytes), want %.60q (%d bytes)", key, got, len(got), want, len(want))
	}
}

func wantErr(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("%s: got %v, want %v", what, err, want)
	}
}

func createOnce(t *testing.T, s objectstore.Store) {
	create(t, s, "a/b/first", "one")
	for _, body := range []string{"two", "one", ""} {
		_, err := s.Create(t.Context(), "a/b/first", []byte(body))
		wantErr(t, "second create", err, objectstore.ErrExists)
		if errors.Is(err, objectstore.ErrMaybeOurs) || errors.Is(err, objectstore.ErrUnknown) {
			t.Fatalf("a first attempt knows that the other object is not its own: %v", err)
		}
		if !strings.Contains(err.Error(), "a/b/first") {
			t.Fatalf("error does not name the key: %v", err)
		}
	}
	wantBody(t, s, "a/b/first", "one")
	if err := s.Put(t.Context(), "a/b/put", []byte("p")); err != nil {
		t.Fatal(err)
	}
	_, err := s.Create(t.Context(), "a/b/put", []byte("c"))
	wantErr(t, "create after put", err, objectstore.ErrExists)
}

func racingCreate(t *testing.T, s objectstore.Store) {
	const writers, keys = 8, 12
	for k := range keys {
		key := fmt.Sprintf("race/%02d", k)
		size := 1 << (k * 2 % 18)
		start := make(chan struct{})
		errs := make([]error, writers)
		var wg sync.WaitGroup
		for w := range writers {
			wg.Go(func() {
				body := bytes.Repeat([]byte{byte('a' + w)}, size)
				<-start
				_, errs[w] = s.Create(t.Context(), key, body)
			})
		}
		close(start)
		wg.Wait()
		winner := -1
		for w, err := range errs {
			switch {
			case err == nil && winner >= 0:
				t.Fatalf("%s: writers %d and %d both won", key, winner, w)
			case err == nil:
				winner = w
			case !errors.Is(err, objectstore.ErrExists):
				t.Fatalf("%s: writer %d: %v", key, w, err)
			}
		}
		if winner < 0 {
			t.Fatalf("%s: nobody won", key)
		}
		wantBody(t, s, key, strings.Repeat(string(rune('a'+winner)), size))
	}
}

func createTime(t *testing.T, s objectstore.Store) {
	at, err := s.Create(t.Context(), "time", nil)
	if err != nil {
		t.Fatal(err)
	}
	if d := time.Since(at).Abs(); d > time.Minute {
		t.Fatalf("created at %v, which is %v away from this machine's time", at, d)
	}
}

func putRepeated(t *testing.T, s objectstore.Store) {
	for range 3 {
		if err := s.Put(t.Context(), "p/q", []byte("same")); err != nil {
			t.Fatal(err)
		}
		wantBody(t, s, "p/q", "same")
	}
	// The one key in the bucket that is rewritten: Delta's hint.
	if err := s.Put(t.Context(), "p/q", []byte("longer than before")); err != nil {
		t.Fatal(err)
	}
	wantBody(t, s, "p/q", "longer than before")
}

func bodyOwnership(t *testing.T, s objectstore.Store) {
	body := []byte("mine")
	if _, err := s.Create(t.Context(), "own", body); err != nil {
		t.Fatal(err)
	}
	copy(body, "YOUR")
	got, err := s.Get(t.Context(), "own", maxBytes)
	if err != nil || string(got) != "mine" {
		t.Fatalf("after the caller changed its buffer: %q, %v", got, err)
	}
	copy(got, "YOUR")
	wantBody(t, s, "own", "mine")
}

func ranges(t *testing.T, s objectstore.Store) {
	const body = "0123456789"
	create(t, s, "r", body)
	for pos := range int64(len(body) + 1) {
		for length := range int64(len(body)) - pos + 1 {
			got, err := s.GetRange(t.Context(), "r", pos, length)
			if err != nil || string(got) != body[pos:pos+length] {
				t.Fatalf("range %d+%d = %q, %v", pos, length, got, err)
			}
		}
	}
	for _, r := range [][2]int64{{0, 11}, {9, 2}, {10, 1}, {11, 1}, {1 << 40, 5}, {5, 1 << 40}} {
		_, err := s.GetRange(t.Context(), "r", r[0], r[1])
		wantErr(t, fmt.Sprintf("range %v", r), err, io.ErrUnexpectedEOF)
		if errors.Is(err, objectstore.ErrUnknown) {
			t.Fatalf("range %v: repeating does not help, so it must not be ErrUnknown: %v", r, err)
		}
	}
	for _, r := range [][2]int64{{-1, 1}, {0, -1}, {1<<63 - 1, 1}} {
		if _, err := s.GetRange(t.Context(), "r", r[0], r[1]); err == nil {
			t.Fatalf("range %v: no error", r)
		}
	}
}

func getBounded(t *testing.T, s objectstore.Store) {
	create(t, s, "g", "12345")
	if _, err := s.Get(t.Context(), "g", 5); err != nil {
		t.Fatal(err)
	}
	_, err := s.Get(t.Context(), "g", 4)
	wantErr(t, "get with too small a limit", err, objectstore.ErrTooLarge)
}

func missing(t *testing.T, s objectstore.Store) {
	create(t, s, "d/e/f", "x")
	for _, key := range []string{"nothing", "d", "d/e", "d/e/g", "d/e/f/h"} {
		_, err := s.Get(t.Context(), key, maxBytes)
		wantErr(t, "get "+key, err, objectstore.ErrNotFound)
		_, err = s.GetRange(t.Context(), key, 0, 1)
		wantErr(t, "get range of "+key, err, objectstore.ErrNotFound)
	}
}

func empty(t *testing.T, s objectstore.Store) {
	create(t, s, "e/created", "")
	if err := s.Put(t.Context(), "e/put", nil); err != nil {
		t.Fatal(err)
	}
	wantBody(t, s, "e/created", "")
	wantBody(t, s, "e/put", "")
	_, err := s.GetRange(t.Context(), "e/put", 0, 1)
	wantErr(t, "range of an empty object", err, io.ErrUnexpectedEOF)
	_, err = s.Create(t.Context(), "e/put", []byte("x"))
	wantErr(t, "create over an empty object", err, objectstore.ErrExists)
	wantList(t, s, "e/", "", 10, "e/created", "e/put")
}

func large(t *testing.T, s objectstore.Store) {
	body := make([]byte, 20<<20)
	rng := rand.NewChaCha8([32]byte{1})
	if _, err := rng.Read(body); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Create(t.Context(), "big/created", body); err != nil {
		t.Fatal(err)
	}
	if err := s.Put(t.Context(), "big/put", body); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"big/created", "big/put"} {
		got, err := s.Get(t.Context(), key, int64(len(body)))
		if err != nil || !bytes.Equal(got, body) {
			t.Fatalf("get %s: %d bytes equal=%v, %v", key, len(got), bytes.Equal(got, body), err)
		}
		for _, r := range [][2]int64{{0, 1 << 20}, {7<<20 + 13, 5 << 20}, {20<<20 - 1, 1}} {
			got, err := s.GetRange(t.Context(), key, r[0], r[1])
			if err != nil || !bytes.Equal(got, body[r[0]:r[0]+r[1]]) {
				t.Fatalf("range %v of %s: %d bytes, %v", r, key, len(got), err)
			}
		}
	}
}

// orderKeys interleaves objects and directories where sorting by path segment goes wrong.
var orderKeys = []string{
	"a!", "a+b/c", "a-b", "a-b/c", "a.b", "a/b", "a/b-c", "a/b.c", "a/b0", "a0", "a0/b", "aa", "b/c/d/e", "b/c0/d", "b/c=1/x", "b=1/x",
	"tables/t@1/_delta_log/00000000000000000000.json", "tables/t/_data/f", "B", "~", "_x",
}

func listOrder(t *testing.T, s objectstore.Store) {
	// "a-b" cannot be an object and a directory on every driver.
	keys := slices.DeleteFunc(slices.Clone(orderKeys), func(k string) bool { return k == "a-b/c" || k == "a0/b" })
	rand.New(rand.NewPCG(1, 2)).Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
	for _, key := range keys {
		create(t, s, key, key)
	}
	slices.Sort(keys)
	wantList(t, s, "", "", 1000, keys...)
	for i, after := range keys {
		wantList(t, s, "", after, 1000, keys[i+1:]...)
	}
	for _, after := range []string{"a", "a-", "a/", "a/b/", "a/zzz", "b", "b/c", "b/c/", "b/c/d/e/f", "b/c~", "zz"} {
		i, found := slices.BinarySearch(keys, after)
		if found {
			i++
		}
		wantList(t, s, "", after, 1000, keys[i:]...)
	}
}

func listPages(t *testing.T, s objectstore.Store) {
	var keys []string
	for i := range 25 {
		keys = append(keys, fmt.Sprintf("page/%d/%020d", i%3, i))
	}
	keys = append(keys, "pag", "page", "pagf/x")
	keys = slices.DeleteFunc(keys, func(k string) bool { return k == "page" })
	for _, key := range keys {
		create(t, s, key, key)
	}
	slices.Sort(keys)
	for _, limit := range []int{1, 2, 7, 27, 1000} {
		for _, prefix := range []string{"", "p", "page", "page/", "page/1", "page/1/", "page/1/0000", "page/9", "q", "pag/x/"} {
			var want []string
			for _, key := range keys {
				if strings.HasPrefix(key, prefix) {
					want = append(want, key)
				}
			}
			var got []string
			after := ""
			for {
				page, err := s.List(t.Context(), prefix, after, limit)
				if err != nil {
					t.Fatalf("list %q after %q: %v", prefix, after, err)
				}
				if len(page) > limit {
					t.Fatalf("list %q limit %d: %d objects", prefix, limit, len(page))
				}
				for _, o := range page {
					got = append(got, o.Key)
					if o.Size != int64(len(o.Key)) {
						t.Fatalf("list: %s has size %d, want %d", o.Key, o.Size, len(o.Key))
					}
				}
				if len(page) < limit {
					break
				}
				after = page[len(page)-1].Key
			}
			if !slices.Equal(got, want) {
				t.Fatalf("list %q by %d:\n got %q\nwant %q", prefix, limit, got, want)
			}
		}
	}
	for _, limit := range []int{0, -1} {
		if _, err := s.List(t.Context(), "", "", limit); err == nil {
			t.Fatalf("limit %d: no error", limit)
		}
	}
}

func wantList(t *testing.T, s objectstore.Store, prefix, after string, limit int, want ...string) {
	t.Helper()
	page, err := s.List(t.Context(), prefix, after, limit)
	if err != nil {
		t.Fatalf("list %q after %q: %v", prefix, after, err)
	}
	got := make([]string, 0, len(page))
	for _, o := range page {
		got = append(got, o.Key)
	}
	if !slices.Equal(got, want) {
		t.Fatalf("list %q after %q:\n got %q\nwant %q", prefix, after, got, want)
	}
}

func deleteRepeated(t *testing.T, s objectstore.Store) {
	var keys []string
	for i := range 30 {
		keys = append(keys, fmt.Sprintf("del/%d/%d", i%2, i))
		create(t, s, keys[i], "x")
	}
	create(t, s, "del/stays", "x")
	if err := s.Delete(t.Context()); err != nil {
		t.Fatalf("delete of nothing: %v", err)
	}
	for range 2 {
		if err := s.Delete(t.Context(), append(keys, "del/never", "nowhere/at/all", "del/stays/below", "del")...); err != nil {
			t.Fatal(err)
		}
		wantList(t, s, "", "", 100, "del/stays")
	}
	if err := s.Delete(t.Context(), "del/stays"); err != nil {
		t.Fatal(err)
	}
	wantList(t, s, "", "", 100)
}

func createAfterDelete(t *testing.T, s objectstore.Store) {
	for _, body := range []string{"one", "two", "three"} {
		create(t, s, "x/y/z", body)
		wantBody(t, s, "x/y/z", body)
		if err := s.Delete(t.Context(), "x/y/z"); err != nil {
			t.Fatal(err)
		}
		_, err := s.Get(t.Context(), "x/y/z", maxBytes)
		wantErr(t, "get after delete", err, objectstore.ErrNotFound)
	}
}

func oddKeys(t *testing.T, s objectstore.Store) {
	keys := []string{
		"tables/orders.v1_eu-west@3f2504e0/_data/p=1/x,y+z!.parquet",
		"...", "..a", ".hidden", "a/...", "a/.tmp", ".tmpx", "-", "--/-", "_/_", "(a)/b:c~d",
		"CASE/x", "case/x", "=", "@/=", "k/" + strings.Repeat("n", 255), strings.Repeat("d/", 200) + "deep",
	}
	for _, key := range keys {
		create(t, s, key, "body of "+key)
	}
	for _, key := range keys {
		wantBody(t, s, key, "body of "+key)
	}
	slices.Sort(keys)
	wantList(t, s, "", "", 100, keys...)
	wantList(t, s, "tables/orders.v1_eu-west@3f2504e0/_data/p=", "", 100, keys[slices.Index(keys, "tables/orders.v1_eu-west@3f2504e0/_data/p=1/x,y+z!.parquet")])
	if err := s.Delete(t.Context(), keys...); err != nil {
		t.Fatal(err)
	}
	wantList(t, s, "", "", 100)
}

func invalidKeys(t *testing.T, s objectstore.Store) {
	for _, key := range []string{
		"", "/", "/a", "a/", "a//b", ".", "..", "../a", "a/..", "a/../b", "a/./b", ".tmp/x", ".tmp", "a b", "a%20b", "a\\b", "a\x00b", "ä", "a\n", "a?b", "a#b",
		"a*", "\"", strings.Repeat("x/", 600) + "x",
	} {
		_, err := s.Create(t.Context(), key, []byte("x"))
		wantErr(t, fmt.Sprintf("create %q", key), err, objectstore.ErrInvalidKey)
		wantErr(t, fmt.Sprintf("put %q", key), s.Put(t.Context(), key, []byte("x")), objectstore.ErrInvalidKey)
		_, err = s.Get(t.Context(), key, 10)
		wantErr(t, fmt.Sprintf("get %q", key), err, objectstore.ErrInvalidKey)
		_, err = s.GetRange(t.Context(), key, 0, 1)
		wantErr(t, fmt.Sprintf("get range of %q", key), err, objectstore.ErrInvalidKey)
		wantErr(t, fmt.Sprintf("delete %q", key), s.Delete(t.Context(), key), objectstore.ErrInvalidKey)
	}
	for _, prefix := range []string{"/", "../", "a//", "a b", "a/../", ".tmp/"} {
		_, err := s.List(t.Context(), prefix, "", 10)
		wantErr(t, fmt.Sprintf("list %q", prefix), err, objectstore.ErrInvalidKey)
	}
}

func contextEnds(t *testing.T, s objectstore.Store) {
	create(t, s, "there", "x")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := s.Create(ctx, "c", []byte("x"))
	wantErr(t, "create", err, context.Canceled)
	wantErr(t, "put", s.Put(ctx, "p", []byte("x")), context.Canceled)
	_, err = s.Get(ctx, "there", 10)
	wantErr(t, "get", err, context.Canceled)
	_, err = s.GetRange(ctx, "there", 0, 1)
	wantErr(t, "get range", err, context.Canceled)
	_, err = s.List(ctx, "", "", 10)
	wantErr(t, "list", err, context.Canceled)
	wantErr(t, "delete", s.Delete(ctx, "there", "p"), context.Canceled)
	wantBody(t, s, "there", "x")
	wantList(t, s, "", "", 10, "there")
}

// concurrentMix checks each goroutine's own keys while all use the store at once.
func concurrentMix(t *testing.T, s objectstore.Store) {
	const workers, rounds = 8, 12
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			if err := mix(t.Context(), s, w, rounds); err != nil {
				t.Errorf("worker %d: %v", w, err)
			}
		})
	}
	wg.Wait()
	wantList(t, s, "mix/shared/", "", 1000, "mix/shared/0", "mix/shared/1", "mix/shared/2")
}

func mix(ctx context.Context, s objectstore.Store, w, rounds int) error {
	rng := rand.New(rand.NewPCG(uint64(w), 7))
	prefix := fmt.Sprintf("mix/%d/", w)
	live := map[string]string{}
	for i := range rounds {
		key := fmt.Sprintf("%s%03d", prefix, i)
		body := strings.Repeat(key, 1+rng.IntN(2000))
		if _, err := s.Create(ctx, key, []byte(body)); err != nil {
			return err
		}
		live[key] = body
		if _, err := s.Create(ctx, fmt.Sprintf("mix/shared/%d", i%3), []byte(key)); err != nil && !errors.Is(err, objectstore.ErrExists) {
			return err
		}
		victim := fmt.Sprintf("%s%03d", prefix, rng.IntN(i+1))
		if want, ok := live[victim]; ok {
			got, err := s.Get(ctx, victim, maxBytes)
			if err != nil {
				return err
			}
			if string(got) != want {
				return fmt.Errorf("%s: %d bytes, want %d", victim, len(got), len(want))
			}
			if rng.IntN(2) == 0 {
				if err := s.Delete(ctx, victim); err != nil {
					return err
				}
				delete(live, victim)
			}
		}
		page, err := s.List(ctx, prefix, "", 1000)
		if err != nil {
			return err
		}
		if len(page) != len(live) {
			return fmt.Errorf("round %d: listed %v, want %d objects", i, page, len(live))
		}
	}
	return nil
}
