package file

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	tempRoot     = ".tmp"
	openLockName = "open.lock"  // held while somebody cleans up or makes its folder
	writerPrefix = "w-"         // one folder per open Store
	aliveName    = "alive.lock" // inside it: locked as long as its owner lives, by the kernel's doing
	openLockWait = 10 * time.Second
)

// tempDir is this store's own folder for temporaries.
type tempDir struct {
	dir   string
	alive *os.File
}

// openTemp removes the folders of dead writers and makes one for this store. An age bound instead of the lock would
// either keep litter for long or take a stopped process for a dead one.
func openTemp(root string) (t *tempDir, err error) {
	base := filepath.Join(root, tempRoot)
	if err := os.Mkdir(base, dirMode); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	guard, err := waitForLock(filepath.Join(base, openLockName))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, guard.Close()) }()
	if err := removeDead(base); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(base, writerPrefix)
	if err != nil {
		return nil, err
	}
	alive, err := tryLock(filepath.Join(dir, aliveName))
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return &tempDir{dir: dir, alive: alive}, nil
}

// removeDead expects the open lock: a folder without a held lock can then only be a dead writer's.
func removeDead(base string) error {
	entries, err := os.ReadDir(base)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if !entry.IsDir() || !strings.HasPrefix(entry.Name(), writerPrefix) {
			continue
		}
		dir := filepath.Join(base, entry.Name())
		lock, err := tryLock(filepath.Join(dir, aliveName))
		if errors.Is(err, syscall.EWOULDBLOCK) || errors.Is(err, fs.ErrNotExist) {
			continue // alive, or closing right now
		}
		if err != nil {
			return err
		}
		if err := errors.Join(os.RemoveAll(dir), lock.Close()); err != nil {
			return err
		}
	}
	return nil
}

func waitForLock(name string) (*os.File, error) {
	for waited := time.Duration(0); ; waited += 10 * time.Millisecond {
		f, err := tryLock(name)
		if err == nil || !errors.Is(err, syscall.EWOULDBLOCK) {
			return f, err
		}
		if waited >= openLockWait {
			return nil, fmt.Errorf("another process has held it for %v: %w", openLockWait, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// tryLock opens and locks name; EWOULDBLOCK when another open file holds the lock. Closing the file unlocks it.
func tryLock(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o644) //nolint:gosec // G304: below the root
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(&fs.PathError{Op: "lock", Path: name, Err: err}, f.Close())
	}
	return f, nil
}

// write makes body durable under a new temporary name, or leaves nothing.
func (t *tempDir) write(ctx context.Context, body []byte) (name string, err error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	f, err := os.CreateTemp(t.dir, "")
	if err != nil {
		return "", err
	}
	defer func() {
		err = errors.Join(err, f.Close())
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	// Objects are for other users of the machine to read, tables above all; temporaries are private.
	if err := f.Chmod(0o644); err != nil {
		return "", err
	}
	for len(body) > 0 {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		n := min(len(body), writeChunkBytes)
		if _, err := f.Write(body[:n]); err != nil {
			return "", err
		}
		body = body[n:]
	}
	return f.Name(), f.Sync()
}

func (t *tempDir) close() error {
	// The folder goes while the lock is held, so that no other Open meets it half gone.
	return errors.Join(os.RemoveAll(t.dir), t.alive.Close())
}
