package file

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/bargedata/barge/objectstore"
)

// readDirNames is how many directory entries are read at a time.
const readDirNames = 1024

// List implements objectstore.Store. A page reads the whole of each directory it touches, but keeps at most about twice
// limit names of it in memory. Files whose names are no valid keys, and anything but regular files, are not objects.
func (s *Store) List(ctx context.Context, prefix, after string, limit int) ([]objectstore.Object, error) {
	if err := objectstore.CheckList(prefix, limit); err != nil {
		return nil, err
	}
	w := walk{store: s, ctx: ctx, prefix: prefix, after: after, limit: limit}
	// Start as deep as the prefix allows.
	dir := prefix[:strings.LastIndexByte(prefix, '/')+1]
	err := w.dir(dir)
	if err == nil && len(w.out) == 0 {
		err = s.rootExists()
	}
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", s.path(prefix), err)
	}
	return w.out, nil
}

type walk struct {
	store         *Store
	ctx           context.Context //nolint:containedctx // lives as long as the one call
	prefix, after string
	limit         int
	out           []objectstore.Object
}

// child is a directory entry under its sort key: the key of an object, or what all keys below a directory start with.
// Comparing those, "a-b" comes before what is in "a", because '-' sorts before '/'.
type child struct {
	key   string // ends in "/" for a directory
	entry fs.DirEntry
}

// dir appends the objects below the directory named by base, which is empty or ends in a slash.
func (w *walk) dir(base string) error {
	from := ""
	for {
		children, more, err := w.children(base, from)
		if err != nil {
			return err
		}
		for _, c := range children {
			if len(w.out) == w.limit {
				return nil
			}
			if err := w.visit(c); err != nil {
				return err
			}
			from = c.key
		}
		if !more || len(w.out) == w.limit {
			return nil
		}
	}
}

func (w *walk) visit(c child) error {
	if c.entry.IsDir() {
		return w.dir(c.key)
	}
	info, err := c.entry.Info()
	if errors.Is(err, fs.ErrNotExist) {
		return nil // deleted meanwhile
	}
	if err != nil {
		return classify(err)
	}
	w.out = append(w.out, objectstore.Object{Key: c.key, Size: info.Size()})
	return nil
}

// children returns the first entries of a directory that matter and sort after from; more tells that there are others.
func (w *walk) children(base, from string) (out []child, more bool, err error) {
	f, err := os.Open(w.store.path(base))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, notADir(err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	keep := w.limit - len(w.out) + 1
	trim := func() {
		slices.SortFunc(out, func(a, b child) int { return cmp.Compare(a.key, b.key) })
		if len(out) > keep {
			out, more = out[:keep], true
		}
	}
	for {
		if err := w.ctx.Err(); err != nil {
			return nil, false, err
		}
		entries, err := f.ReadDir(readDirNames)
		for _, entry := range entries {
			if c, ok := w.matters(base, entry); ok && c.key > from {
				out = append(out, c)
			}
		}
		if len(out) >= 2*keep {
			trim()
		}
		if errors.Is(err, io.EOF) {
			trim()
			return out, more, nil
		}
		if err != nil {
			return nil, false, notADir(err)
		}
	}
}

// notADir lets a prefix that leads through an object list as nothing.
func notADir(err error) error {
	if err = classify(err); errors.Is(err, objectstore.ErrClash) {
		return nil
	}
	return err
}

func (w *walk) matters(base string, entry fs.DirEntry) (child, bool) {
	c := child{key: base + entry.Name(), entry: entry}
	if c.key == tempRoot || objectstore.ValidKey(c.key) != nil {
		return c, false
	}
	switch {
	case entry.IsDir():
		c.key += "/"
		wanted := strings.HasPrefix(c.key, w.prefix) || strings.HasPrefix(w.prefix, c.key)
		// Keys below start with c.key: they can be > after if c.key is, or if after lies among them.
		return c, wanted && (c.key > w.after || strings.HasPrefix(w.after, c.key))
	case entry.Type().IsRegular():
		return c, strings.HasPrefix(c.key, w.prefix) && c.key > w.after
	default:
		return c, false
	}
}
