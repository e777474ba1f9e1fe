package file_test

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bargedata/barge/objectstore"
	"github.com/bargedata/barge/objectstore/file"
)

// asNobody lets file permissions mean something when the tests run as root: this thread then has the rights of an
// ordinary user in the file system.
func asNobody(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		return
	}
	const nobody = 65534
	runtime.LockOSThread()
	if err := syscall.Setfsuid(nobody); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Setfsuid(0); err != nil {
			t.Error(err)
		}
		runtime.UnlockOSThread()
	})
}

func TestMissingPermissionIsDenied(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	ctx := t.Context()
	if _, err := s.Create(ctx, "guarded/k", []byte("x")); err != nil {
		t.Fatal(err)
	}
	guarded := filepath.Join(dir, "guarded")
	if err := os.Chmod(guarded, 0); err != nil {
		t.Fatal(err)
	}
	tmp, err := filepath.Glob(filepath.Join(dir, ".tmp", "w-*"))
	if err != nil || len(tmp) != 1 {
		t.Fatal(tmp, err)
	}
	if err := os.Chmod(tmp[0], 0o777); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // or the removal of the directory fails for ordinary users
		if err := os.Chmod(guarded, 0o755); err != nil {
			t.Error(err)
		}
	})
	asNobody(t)
	_, err1 := s.Create(ctx, "guarded/new", []byte("x"))
	_, err2 := s.Get(ctx, "guarded/k", 10)
	_, err3 := s.List(ctx, "guarded/", "", 10)
	for i, err := range []error{err1, err2, err3, s.Put(ctx, "guarded/new", []byte("x")), s.Delete(ctx, "guarded/k")} {
		if !errors.Is(err, objectstore.ErrDenied) || errors.Is(err, objectstore.ErrUnknown) || !strings.Contains(err.Error(), guarded) {
			t.Errorf("case %d: %v, want ErrDenied and the path", i, err)
		}
	}
}

func TestOpenOfADirectoryThatMayNotBeWrittenIsDenied(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o555); err != nil {
		t.Fatal(err)
	}
	asNobody(t)
	if _, err := file.Open(dir, time.Now); !errors.Is(err, objectstore.ErrDenied) || !strings.Contains(err.Error(), dir) {
		t.Fatalf("%v, want ErrDenied and the path", err)
	}
}

// TestFullDisk fills a real file system. Mounting one takes root; TestClassify covers the mapping for everybody.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=2m"); err != nil {
		t.Skipf("cannot mount a small file system to fill (needs root): %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	s, err := file.Open(dir, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	if _, err := s.Create(ctx, "fits", make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		_, err := s.Create(ctx, "a/b", make([]byte, 4<<20))
		if !errors.Is(err, objectstore.ErrFull) || errors.Is(err, objectstore.ErrUnknown) || !strings.Contains(err.Error(), dir) {
			t.Fatalf("%v, want ErrFull and the path", err)
		}
	}
	// What did not fit has left no litter, so what does fit still does.
	if _, err := s.Create(ctx, "a/b", make([]byte, 700<<10)); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
