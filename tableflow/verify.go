package tableflow

import (
	"context"
	"fmt"

	"github.com/bargedata/barge/record"
)

// Verify reads all that the file holds: every page of every column must pass its CRC and decode, and the rows of a row
// group must be of one partition with ascending offsets. Each row goes to yield with the number of its row group, its partition and
// the record, which is only valid during the call; an error of yield ends the walk and comes back as it is. What has no
// checksum in this format (page headers, footer, page index) is checked as far as it must agree with the rest. Memory as
// for Records. Errors: ErrCorrupt, ErrTooLarge, or the store's.
func (f *File) Verify(ctx context.Context, yield func(group, partition int32, r *record.Record) error) error {
	columns := make([]int, numColumns)
	for i := range columns {
		columns[i] = i
	}
	for i := range f.groups {
		group := int32(i)
		if err := f.verifyNulls(ctx, group); err != nil {
			return err
		}
		rows, first := int64(0), int32(0)
		var stop error
		err := f.scan(ctx, group, 1, 0, columns, func(s *scanner) bool {
			if rows++; rows == 1 {
				first = s.partition
			}
			if s.partition != first {
				stop = fmt.Errorf("read %s row group %d: partition %d after %d: %w", f.key, group, s.partition, first, ErrCorrupt)
				return false
			}
			stop = yield(group, s.partition, &s.rec)
			return stop == nil
		})
		if stop != nil {
			return stop
		}
		if err != nil {
			return err
		}
		if rows != f.groups[i].rows {
			return fmt.Errorf("read %s row group %d: %d rows, footer says %d: %w", f.key, group, rows, f.groups[i].rows, ErrCorrupt)
		}
	}
	return nil
}

// verifyNulls checks the pages that a scan leaves out because the footer says that they hold nothing but nulls.
func (f *File) verifyNulls(ctx context.Context, group int32) error {
	s := &scanner{file: f}
	s.borrow()
	defer s.giveBack()
	g := &f.groups[group]
	for col, l := range leaves() {
		c := cursor{leaf: l, group: g, chunk: &g.chunks[col], zstd: s.zstd}
		if !c.chunk.allNull {
			continue
		}
		for _, p := range c.chunk.pages {
			page := span{pos: p.pos, len: p.len}
			if err := f.get(ctx, &page); err != nil {
				return fmt.Errorf("read %s row group %d: %w", f.key, group, err)
			}
			c.next++
			if _, _, err := c.body(page.buf, &c.buf); err != nil {
				return fmt.Errorf("read %s row group %d: %w", f.key, group, err)
			}
		}
	}
	return nil
}
