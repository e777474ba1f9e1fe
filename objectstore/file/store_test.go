package file_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bargedata/barge/objectstore"
	"github.com/bargedata/barge/objectstore/file"
	"github.com/bargedata/barge/objectstore/storetest"
)

func open(tb testing.TB, dir string) *file.Store {
	tb.Helper()
	s, err := file.Open(dir, time.Now)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Errorf("close: %v", err)
		}
	})
	return s
}

func TestConformance(t *testing.T) {
	storetest.Run(t, func(t *testing.T) objectstore.Store {
		t.Helper()
		return open(t, t.TempDir())
	})
}

func TestTwoStoresOnOneDirectoryAreOneStore(t *testing.T) {
	// The suite's races, with the writers spread over two stores as they would be over two processes.
	storetest.Run(t, func(t *testing.T) objectstore.Store {
		t.Helper()
		dir := t.TempDir()
		return &alternate{Store: open(t, dir), other: open(t, dir)}
	})
}

// alternate sends every other Create to another store.
type alternate struct {
	objectstore.Store
	other objectstore.Store
	n     atomic.Int64
}

func (a *alternate) Create(ctx context.Context, key string, body []byte) (time.Time, error) {
	if a.n.Add(1)%2 == 0 {
		return a.other.Create(ctx, key, body)
	}
	return a.Store.Create(ctx, key, body)
}

func TestProbePassesADirectory(t *testing.T) {
	dir := t.TempDir()
	if err := objectstore.Probe(t.Context(), []objectstore.Store{open(t, dir), open(t, dir)}, "meta/probe/", "r"); err != nil {
		t.Fatal(err)
	}
}

func TestKeysAreThePathsAndNothingElseIsLeftBehind(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	ctx := t.Context()
	if _, err := s.Create(ctx, "tables/t@1/_delta_log/0.json", []byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := s.Put(ctx, "a", []byte("yy")); err != nil {
		t.Fatal(err)
	}
	_, err := s.Create(ctx, "a", []byte("zz"))
	if !errors.Is(err, objectstore.ErrExists) {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(dir, "tables", "t@1", "_delta_log", "0.json"))
	if err != nil || string(got) != "x" {
		t.Fatalf("%q, %v", got, err)
	}
	if n := temporaries(t, dir); n != 0 {
		t.Fatalf("%d temporaries left", n)
	}
}

// temporaries counts the files below .tmp that are no locks.
func temporaries(t *testing.T, dir string) (n int) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join(dir, ".tmp"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && filepath.Ext(path) != ".lock" {
			n++
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestCanceledWriteLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(time.Millisecond, cancel)
	for i := range 1000 {
		if _, err := s.Create(ctx, fmt.Sprint("k/", i), make([]byte, 8<<20)); err != nil {
			if !errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}
			break
		}
	}
	if n := temporaries(t, dir); n != 0 {
		t.Fatalf("%d temporaries left", n)
	}
}

func TestOpenRemovesWhatDeadWritersLeftAndNothingOfLivingOnes(t *testing.T) {
	dir := t.TempDir()
	living := open(t, dir)
	// A dead writer: its lock file is there, but nobody holds it.
	dead := filepath.Join(dir, ".tmp", "w-dead")
	foreign := filepath.Join(dir, ".tmp", "note")
	for path, body := range map[string]string{filepath.Join(dead, "alive.lock"): "", filepath.Join(dead, "123"): "half an object", foreign: "not ours"} {
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(body), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	second := open(t, dir)
	if _, err := os.Stat(dead); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the dead writer's folder: %v, want it gone", err)
	}
	if _, err := os.Stat(foreign); err != nil {
		t.Errorf("another's file: %v", err)
	}
	for i, s := range []*file.Store{living, second} {
		if _, err := s.Create(t.Context(), fmt.Sprint("k", i), []byte("x")); err != nil {
			t.Errorf("store %d: %v", i, err)
		}
	}
}

// TestAKilledWritersFolderIsRemoved kills a real process in the middle of its writes.
func TestAKilledWritersFolderIsRemoved(t *testing.T) {
	if dir := os.Getenv("BARGE_TEST_WRITER"); dir != "" {
		s := open(t, dir)
		for i := 0; ; i++ {
			_ = s.Put(t.Context(), fmt.Sprint("child/", i), make([]byte, 1<<20))
			fmt.Println("written")
		}
	}
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestAKilledWritersFolderIsRemoved$")
	cmd.Env = append(os.Environ(), "BARGE_TEST_WRITER="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(out, make([]byte, len("written\n"))); err != nil {
		t.Fatal(err)
	}
	writers := func() int {
		found, err := filepath.Glob(filepath.Join(dir, ".tmp", "w-*"))
		if err != nil {
			t.Fatal(err)
		}
		return len(found)
	}
	open(t, dir)
	if n := writers(); n != 2 {
		t.Fatalf("%d writers' folders while both live, want 2", n)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed
	open(t, dir)
	if n := writers(); n != 2 { // the two of this process
		t.Fatalf("%d writers' folders after one was killed, want 2", n)
	}
}

func TestObjectAndDirectoryClashClearly(t *testing.T) {
	s := open(t, t.TempDir())
	ctx := t.Context()
	if _, err := s.Create(ctx, "a/b", nil); err != nil {
		t.Fatal(err)
	}
	_, err1 := s.Create(ctx, "a", []byte("x"))
	_, err2 := s.Create(ctx, "a/b/c", []byte("x"))
	_, err3 := s.Create(ctx, "a/b/c/d", []byte("x"))
	for i, err := range []error{err1, err2, err3, s.Put(ctx, "a", []byte("x")), s.Put(ctx, "a/b/c", []byte("x"))} {
		if !errors.Is(err, objectstore.ErrClash) || errors.Is(err, objectstore.ErrExists) {
			t.Errorf("case %d: %v, want ErrClash", i, err)
		}
	}
	// Deleting the object frees the name for a directory.
	if err := s.Delete(ctx, "a/b"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Create(ctx, "a/b/c/d", []byte("x")); err != nil {
		t.Fatal(err)
	}
}

func TestTooLongSegmentIsAnInvalidKey(t *testing.T) {
	s := open(t, t.TempDir())
	_, err := s.Create(t.Context(), "tables/"+strings.Repeat("t", 256)+"/x", nil)
	if !errors.Is(err, objectstore.ErrInvalidKey) {
		t.Fatal(err)
	}
}

func TestMissingRoot(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "nowhere")
	if _, err := file.Open(missing, time.Now); !errors.Is(err, objectstore.ErrNoBucket) || !strings.Contains(err.Error(), missing) {
		t.Errorf("open: %v, want ErrNoBucket and the path", err)
	}
	plain := filepath.Join(t.TempDir(), "plain")
	if err := os.WriteFile(plain, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := file.Open(plain, time.Now); !errors.Is(err, objectstore.ErrNoBucket) {
		t.Errorf("open of a file: %v, want ErrNoBucket", err)
	}
	dir := filepath.Join(t.TempDir(), "root")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	s := open(t, dir)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	_, err1 := s.Create(ctx, "a/b", nil)
	_, err2 := s.Get(ctx, "a/b", 1)
	_, err3 := s.List(ctx, "", "", 1)
	for i, err := range []error{err1, err2, err3, s.Put(ctx, "c", nil), s.Delete(ctx, "d")} {
		if !errors.Is(err, objectstore.ErrNoBucket) {
			t.Errorf("case %d: %v, want ErrNoBucket", i, err)
		}
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the root was made anew: %v", err)
	}
}

func TestDirectoriesRemovedByOthersAreMadeAgain(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	for range 2 {
		if _, err := s.Create(t.Context(), "a/b/c", []byte("x")); err != nil {
			t.Fatal(err)
		}
		if err := os.RemoveAll(filepath.Join(dir, "a")); err != nil {
			t.Fatal(err)
		}
	}
}

func TestListSkipsWhatIsNoObject(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	if _, err := s.Create(t.Context(), "a/b", nil); err != nil {
		t.Fatal(err)
	}
	err := errors.Join(
		os.WriteFile(filepath.Join(dir, "a", "with space"), nil, 0o644),
		os.Symlink("b", filepath.Join(dir, "a", "link")),
		os.MkdirAll(filepath.Join(dir, "a", "empty", "dir"), 0o755),
	)
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.List(t.Context(), "", "", 1000)
	if err != nil || len(got) != 1 || got[0].Key != "a/b" {
		t.Fatalf("%v, %v", got, err)
	}
}

func TestListPagesPastManyEmptyDirectories(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	for i := range 50 {
		if err := os.MkdirAll(filepath.Join(dir, fmt.Sprintf("d%02d", i)), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Create(t.Context(), "z", nil); err != nil {
		t.Fatal(err)
	}
	got, err := s.List(t.Context(), "", "", 1)
	if err != nil || len(got) != 1 || got[0].Key != "z" {
		t.Fatalf("%v, %v", got, err)
	}
}

func TestListOverRandomTrees(t *testing.T) {
	for seed := range uint64(10) {
		rng := rand.New(rand.NewPCG(seed, 0))
		s := open(t, t.TempDir())
		var keys []string
		for range 60 {
			var key []string
			for range 1 + rng.IntN(4) {
				key = append(key, []string{"a", "a-", "a.", "a0", "b", "A", "a,", "~", "_"}[rng.IntN(9)])
			}
			// An object's name never is a directory's: objects end in x.
			full := strings.Join(key, "/") + "x"
			if _, err := s.Create(t.Context(), full, nil); err == nil {
				keys = append(keys, full)
			} else if !errors.Is(err, objectstore.ErrExists) {
				t.Fatal(err)
			}
		}
		slices.Sort(keys)
		for _, limit := range []int{1, 3, 1000} {
			prefix := keys[rng.IntN(len(keys))]
			prefix = prefix[:rng.IntN(len(prefix))]
			after := keys[rng.IntN(len(keys))]
			after = after[:rng.IntN(len(after)+1)]
			var want, got []string
			for _, key := range keys {
				if strings.HasPrefix(key, prefix) && key > after && len(want) < limit {
					want = append(want, key)
				}
			}
			page, err := s.List(t.Context(), prefix, after, limit)
			for _, o := range page {
				got = append(got, o.Key)
			}
			if err != nil || !slices.Equal(got, want) {
				t.Fatalf("seed %d: list %q after %q limit %d:\n got %q, %v\nwant %q", seed, prefix, after, limit, got, err, want)
			}
		}
	}
}

func BenchmarkCreate(b *testing.B) {
	for _, size := range []int{4 << 10, 8 << 20} {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			s := open(b, b.TempDir())
			body := make([]byte, size)
			if _, err := rand.NewChaCha8([32]byte{}).Read(body); err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				key := fmt.Sprintf("wal/1/%016x/%016x", 1, i)
				if _, err := s.Create(b.Context(), key, body); err != nil {
					b.Fatal(err)
				}
				if i%64 == 63 { // keep the disk from filling
					b.StopTimer()
					keys := make([]string, 64)
					for j := range keys {
						keys[j] = fmt.Sprintf("wal/1/%016x/%016x", 1, i-j)
					}
					if err := s.Delete(b.Context(), keys...); err != nil {
						b.Fatal(err)
					}
					b.StartTimer()
				}
			}
		})
	}
}
