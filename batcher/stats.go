package batcher

import "time"

// Stats is a moment's view. Counts only grow; gauges are what is so right now.
type Stats struct {
	Objects       uint64               // committed
	Inline        uint64               // of these, those that traveled in their commits
	Bytes         int64                // of their batches
	UploadedBytes int64                // of whole objects, committed or not
	Failed        uint64               // objects whose appends were answered with an error
	Sealed        [flushReasons]uint64 // by FlushReason
	CommitRetries uint64
	Waits         uint64 // calls that had to wait for room

	BufferedBytes int64 // gauge: of Config.BufferBytes
	Waiting       int   // gauge: calls that wait for room
	Live          int   // gauge: objects sealed and not answered
	Uploading     int   // gauge
	Committing    int   // gauge
}

// Flush is the story of one object, told when its appends are answered.
type Flush struct {
	Reason  FlushReason
	Key     string // "" when it was never laid out or traveled in its commit
	Calls   int
	Batches int
	Bytes   int64
	Wait    time.Duration // from the first append to sealing
	Upload  time.Duration // from sealing to the end of the upload, waiting for a slot included
	Commit  time.Duration // from then to the answer
	Total   time.Duration
	Err     error
}

// Observer hears of every object, from the batcher's own goroutine: it must be quick. It may be nil.
type Observer interface {
	Flushed(Flush)
}
