package record_test

import (
	"fmt"

	"github.com/bargedata/barge/record"
)

// A batch is checked when it arrives, stored as it is, and given its place in the log when it is read.
func Example() {
	builder := record.NewBuilder(record.Zstd)
	builder.Reset(0)
	for i, value := range []string{"first light", "second thoughts"} {
		if err := builder.Append(&record.Record{Offset: record.Offset(i), Timestamp: 1_700_000_000_000, Value: []byte(value)}); err != nil {
			fmt.Println(err)
		}
	}
	wire, err := builder.Build(nil)
	if err != nil {
		fmt.Println(err)
	}

	batch, err := record.Parse(wire)
	if err != nil {
		fmt.Println(err)
	}
	if err := batch.ValidateProduce(record.DefaultLimits()); err != nil {
		fmt.Println(err)
	}
	reply := record.PatchHeader(nil, batch, 41, 0)
	reply = append(reply, batch.Bytes()[record.PatchLen:]...)

	fetched, _, err := record.Split(reply)
	if err != nil {
		fmt.Println(err)
	}
	records, err := fetched.Decode(record.DefaultLimits(), nil)
	if err != nil {
		fmt.Println(err)
	}
	for _, r := range records {
		fmt.Printf("%d %s\n", r.Offset, r.Value)
	}
	// Output:
	// 41 first light
	// 42 second thoughts
}
