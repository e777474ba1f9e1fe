package metadata

import "github.com/bargedata/barge/record"

// Topic is one topic incarnation as readers see it. Configs holds only what was set explicitly; the map is shared and
// must not be changed. TableDir is the topic's place in the store without a trailing slash: "tables/<name>", or
// "tables/<name>@<id hex>" while the plain path still belongs to an earlier incarnation.
type Topic struct {
	ID         record.TopicID
	Name       string
	Partitions int32
	Configs    map[string]string
	TableDir   string
	CreatedAt  int64 // entry time, milliseconds
}
