package bucketlog_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/metadata/bucketlog"
	"github.com/bargedata/barge/objectstore"
)

// Two agents on one bucket: the second takes the log over, the first is fenced, and what it had appended stays.
func Example() {
	ctx := context.Background()
	store := objectstore.NewMemory(time.Now)
	n := byte(0)
	newID := func() (id [16]byte) { // random outside examples
		n++
		id[0] = n
		return id
	}
	open := func() *bucketlog.Log {
		log, err := bucketlog.New(store, bucketlog.Config{Prefix: "meta/0"}, newID, slog.New(slog.DiscardHandler))
		if err != nil {
			panic(err)
		}
		return log
	}

	first, second := open(), open()
	a, _ := first.Acquire(ctx, "agent-1:9092", 0)
	fmt.Println("append:", first.Append(ctx, a.Term, a.Next, newID(), []byte("hello")))

	b, _ := second.Acquire(ctx, "agent-2:9092", 0)
	err := first.Append(ctx, a.Term, a.Next+1, newID(), []byte("too late"))
	fmt.Println("fenced:", errors.Is(err, metadata.ErrFenced))

	entries, _ := second.Read(ctx, 0, 1<<20)
	for _, e := range entries {
		fmt.Printf("slot %d term %d claim %v %q\n", e.Seq, e.Term, e.Claim, e.Body)
	}
	fmt.Println("next:", b.Next)
	// Output:
	// append: <nil>
	// fenced: true
	// slot 0 term 1 claim true ""
	// slot 1 term 1 claim false "hello"
	// slot 2 term 2 claim true ""
	// next: 3
}
