// Package file keeps objects in a local directory, for one machine: demos, tests, and single nodes with a good disk.
//
//	store, err := file.Open(dir, time.Now) // the directory must exist: ErrNoBucket otherwise
//	defer store.Close()
//
// Keys map one-to-one to paths below the root. A key that is both an object and the directory of another cannot exist
// here, though it can on S3: such a call gets objectstore.ErrClash. One path segment holds at most 255 bytes.
//
// Several processes may share a directory. Create is link(2), which is atomic among them; the file system must
// therefore have hard links and flock (local ones do). A nil error means that the object's bytes, its name and the
// names of its parent directories are on disk. ErrExists means the same of the other writer's object. A reader may
// see an object a moment before that, while its writer still waits for the disk: after a power cut such an object may
// be gone although somebody read it, never one whose Create or Put had returned.
//
// Temporaries live in .tmp/ at the root, in one folder per open Store with a lock on it; Open removes the folders whose
// owner is dead. Delete leaves empty directories behind: removing them would race with a Create that has just found
// them durable, and their number follows the number of topics and agents, not of objects.
package file

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/bargedata/barge/objectstore"
)

// writeChunkBytes is how much is written between two looks at the context.
const writeChunkBytes = 1 << 20

// maxDurableDirs bounds the memory of directories known to be on disk; beyond it the memory starts anew, which costs
// a few fsyncs.
const maxDurableDirs = 10_000

// dirMode lets other users of the machine read the tables, as far as the umask does.
const dirMode = 0o755

// Store is a directory of objects. It implements objectstore.Store and is safe for concurrent use.
type Store struct {
	root string // absolute
	temp *tempDir
	now  func() time.Time

	mu      sync.Mutex
	durable map[string]struct{} // slash paths of directories whose own entry has been fsynced by us
}

// Open opens the directory dir, which must exist, and removes what dead writers left in its .tmp folder. now supplies
// the time Create returns. Errors: ErrNoBucket - dir does not exist or is no directory; ErrDenied; ErrFull.
func Open(dir string, now func() time.Time) (*Store, error) {
	root, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("open store directory %s: %w", dir, err)
	}
	info, err := os.Stat(root)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("open store directory %s: %w: create it first", root, objectstore.ErrNoBucket)
	case err != nil:
		return nil, fmt.Errorf("open store directory %s: %w", root, classify(err))
	case !info.IsDir():
		return nil, fmt.Errorf("open store directory %s: %w: it is a file", root, objectstore.ErrNoBucket)
	}
	temp, err := openTemp(root)
	if err != nil {
		return nil, fmt.Errorf("open store directory %s: %w", root, classify(err))
	}
	return &Store{root: root, temp: temp, now: now, durable: map[string]struct{}{}}, nil
}

// Close removes the store's own temporaries. Calls after it, or under way, fail.
func (s *Store) Close() error { return s.temp.close() }

// Create implements objectstore.Store.
func (s *Store) Create(ctx context.Context, key string, body []byte) (time.Time, error) {
	err := s.write(ctx, key, body, true)
	if err != nil {
		return time.Time{}, fmt.Errorf("create %s (%d bytes): %w", s.path(key), len(body), err)
	}
	return s.now().Round(0), nil // the wall clock: it goes on while the machine sleeps
}

// Put implements objectstore.Store.
func (s *Store) Put(ctx context.Context, key string, body []byte) error {
	if err := s.write(ctx, key, body, false); err != nil {
		return fmt.Errorf("put %s (%d bytes): %w", s.path(key), len(body), err)
	}
	return nil
}

// write makes body durable in a temporary, gives it its name, and makes the name durable. With create the name must be
// free: link refuses a taken one where rename would replace it.
func (s *Store) write(ctx context.Context, key string, body []byte, create bool) error {
	if err := objectstore.ValidKey(key); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	dir, name := path.Dir(key), s.path(key)
	publish := os.Rename
	if create {
		publish = os.Link
	}
	if _, err := os.Lstat(name); err == nil && create {
		return s.taken(dir, name) // without writing megabytes to learn it
	}
	temp, err := s.temp.write(ctx, body)
	if err != nil {
		return s.explain(err)
	}
	// What a link or a failure leaves behind is litter that the next Open removes, so this error changes nothing.
	defer func() { _ = os.Remove(temp) }()
	if err := ctx.Err(); err != nil {
		return err
	}
	place := func() error {
		if err := s.ensureDir(dir); err != nil {
			return err
		}
		return publish(temp, name)
	}
	err = place()
	if errors.Is(err, fs.ErrNotExist) && s.rootExists() == nil {
		// Somebody outside removed a directory we had found durable.
		s.forget(dir)
		err = place()
	}
	switch {
	case errors.Is(err, fs.ErrExist):
		return s.taken(dir, name)
	case err != nil:
		return s.explain(err)
	}
	if err := syncDir(s.path(dir)); err != nil {
		return fmt.Errorf("%w: %w", objectstore.ErrUnknown, err)
	}
	return nil
}

// taken answers for a name that is there: ErrExists promises that the other writer's object stays, so its name is made
// durable here, before that writer may have come to it.
func (s *Store) taken(dir, name string) error {
	info, err := os.Lstat(name)
	if err == nil && info.IsDir() {
		return fmt.Errorf("%w: it is a directory of other objects", objectstore.ErrClash)
	}
	if err := s.ensureDir(dir); err != nil {
		return s.explain(err)
	}
	if err := syncDir(s.path(dir)); err != nil {
		return fmt.Errorf("%w: %w", objectstore.ErrUnknown, err)
	}
	return objectstore.ErrExists
}

// ensureDir makes the directory dir (slash path below the root, "." for the root) and its parents, durably. A directory
// that is there already may have been made by another process that has not synced it yet, so the first use here syncs too.
func (s *Store) ensureDir(dir string) error {
	if dir == "." || s.isDurable(dir) {
		return nil
	}
	parent := path.Dir(dir)
	if err := s.ensureDir(parent); err != nil {
		return err
	}
	if err := os.Mkdir(s.path(dir), dirMode); errors.Is(err, fs.ErrExist) {
		if info, statErr := os.Stat(s.path(dir)); statErr == nil && !info.IsDir() {
			return &fs.PathError{Op: "mkdir", Path: s.path(dir), Err: syscall.ENOTDIR}
		}
	} else if err != nil {
		return err
	}
	if err := syncDir(s.path(parent)); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.durable) >= maxDurableDirs {
		clear(s.durable)
	}
	s.durable[dir] = struct{}{}
	return nil
}

func (s *Store) isDurable(dir string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.durable[dir]
	return ok
}

func (s *Store) forget(dir string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for ; dir != "."; dir = path.Dir(dir) {
		delete(s.durable, dir)
	}
}

// Delete implements objectstore.Store. It is durable when it returns nil. Empty directories stay.
func (s *Store) Delete(ctx context.Context, keys ...string) error {
	for _, key := range keys {
		if err := objectstore.ValidKey(key); err != nil {
			return fmt.Errorf("delete: %w", err)
		}
	}
	var errs []error
	dirs := map[string]struct{}{}
	for _, key := range keys {
		if err := ctx.Err(); err != nil {
			errs = append(errs, fmt.Errorf("delete %s: %w", s.path(key), err))
			break
		}
		removed, err := s.unlink(key)
		if err != nil {
			errs = append(errs, fmt.Errorf("delete %s: %w", s.path(key), err))
		}
		if removed {
			dirs[path.Dir(key)] = struct{}{}
		}
	}
	for dir := range dirs {
		if err := syncDir(s.path(dir)); err != nil {
			errs = append(errs, fmt.Errorf("delete in %s: %w: %w", s.path(dir), objectstore.ErrUnknown, err))
		}
	}
	return errors.Join(errs...)
}

// unlink is not os.Remove, which would also remove an empty directory of that name.
func (s *Store) unlink(key string) (removed bool, err error) {
	name := s.path(key)
	err = syscall.Unlink(name)
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.ENOTDIR):
		return false, s.rootExists()
	}
	if info, statErr := os.Lstat(name); statErr == nil && info.IsDir() {
		return false, nil // a directory is not an object: the key holds nothing
	}
	return false, classify(err)
}

func (s *Store) path(key string) string { return filepath.Join(s.root, filepath.FromSlash(key)) }

func (s *Store) rootExists() error {
	_, err := os.Stat(s.root)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %s is gone", objectstore.ErrNoBucket, s.root)
	}
	if err != nil {
		return classify(err)
	}
	return nil
}

// explain classifies an error of a write, where a missing path can only mean that the root is gone.
func (s *Store) explain(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		if rootErr := s.rootExists(); rootErr != nil {
			return rootErr
		}
	}
	return classify(err)
}

// classify adds the error a caller acts on to one of the operating system's.
func classify(err error) error {
	for _, row := range []struct {
		sentinel error
		causes   []syscall.Errno
	}{
		{objectstore.ErrFull, []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT}},
		{objectstore.ErrDenied, []syscall.Errno{syscall.EACCES, syscall.EPERM, syscall.EROFS}},
		{objectstore.ErrInvalidKey, []syscall.Errno{syscall.ENAMETOOLONG}},
		{objectstore.ErrClash, []syscall.Errno{syscall.ENOTDIR, syscall.EISDIR}},
		// Nothing has happened, but the same call may well succeed in a moment.
		{objectstore.ErrUnknown, []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.EAGAIN, syscall.EBUSY}},
	} {
		for _, cause := range row.causes {
			if errors.Is(err, cause) {
				return fmt.Errorf("%w: %w", row.sentinel, err)
			}
		}
	}
	return err
}

// syncDir makes the names in a directory durable.
func syncDir(dir string) error {
	f, err := os.Open(dir) //nolint:gosec // G304: below the root, by ValidKey
	if err != nil {
		return err
	}
	syncErr := f.Sync()
	return errors.Join(syncErr, f.Close())
}
