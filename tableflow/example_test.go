package tableflow_test

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/bargedata/barge/objectstore"
	"github.com/bargedata/barge/record"
	"github.com/bargedata/barge/tableflow"
)

func Example() {
	ctx := context.Background()
	var body bytes.Buffer
	w := tableflow.NewWriter(&body, tableflow.WriterConfig{})
	if err := w.StartPartition(2); err != nil {
		panic(err)
	}
	for i := range 3 {
		r := record.Record{Offset: record.Offset(100 + i), Timestamp: 1_700_000_000_000, Value: fmt.Appendf(nil, "line %d", i)}
		if err := w.Append(&r); err != nil {
			panic(err)
		}
	}
	stats, err := w.Close()
	if err != nil {
		panic(err)
	}
	store := objectstore.NewMemory(time.Now)
	if err := store.Put(ctx, "tables/t/_data/a.parquet", body.Bytes()); err != nil {
		panic(err)
	}

	f, err := tableflow.OpenFile(ctx, store, "tables/t/_data/a.parquet", stats.Size)
	if err != nil {
		panic(err)
	}
	part := stats.Parts[0]
	err = f.Records(ctx, part.RowGroup, part.RowGroups, 101, func(r *record.Record) bool {
		fmt.Printf("partition %d offset %d: %s, null key %v\n", part.Partition, r.Offset, r.Value, r.Key == nil)
		return true
	})
	if err != nil {
		panic(err)
	}
	// Output:
	// partition 2 offset 101: line 1, null key true
	// partition 2 offset 102: line 2, null key true
}
