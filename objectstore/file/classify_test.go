package file

import (
	"errors"
	"io/fs"
	"syscall"
	"testing"

	"github.com/bargedata/barge/objectstore"
)

func TestClassify(t *testing.T) {
	for errno, want := range map[syscall.Errno]error{
		syscall.ENOSPC: objectstore.ErrFull, syscall.EDQUOT: objectstore.ErrFull,
		syscall.EACCES: objectstore.ErrDenied, syscall.EROFS: objectstore.ErrDenied, syscall.EPERM: objectstore.ErrDenied,
		syscall.EMFILE: objectstore.ErrUnknown, syscall.ENAMETOOLONG: objectstore.ErrInvalidKey, syscall.EISDIR: objectstore.ErrClash,
	} {
		cause := &fs.PathError{Op: "write", Path: "/x", Err: errno}
		if err := classify(cause); !errors.Is(err, want) || !errors.Is(err, errno) {
			t.Errorf("%v: %v, want %v", errno, err, want)
		}
	}
	if err := classify(&fs.PathError{Op: "write", Path: "/x", Err: syscall.EIO}); errors.Is(err, objectstore.ErrUnknown) || !errors.Is(err, syscall.EIO) {
		t.Errorf("a broken disk: %v, want it as it is", err)
	}
}
