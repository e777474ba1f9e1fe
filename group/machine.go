package group

import (
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/bargedata/barge/record"
)

// machine is a group as the Coordinator handles it: a classic one (State) or one of the consumer protocol (ConsumerState). Both take
// every event; what belongs to the other protocol they refuse as Kafka does.
type machine interface {
	Step(ev Event, now time.Time) Output
	Wake() time.Time
	Snapshot() (revision uint64, value []byte)

	// Idle: no members, and nobody is about to become one. EmptySince means something then.
	Idle() bool
	EmptySince() time.Time
	// atRest reports that the durable record, once what is being saved is saved, is all there is to the group.
	atRest() bool
	// round is the generation or epoch, from which a group of the other type goes on.
	round() int32

	checkCommit(cm commitCheck, now time.Time) Code
	// checkFetch judges a member that names itself in OffsetFetch (version 9 and later).
	checkFetch(memberID string, epoch int32) Code
	// subscriptions returns what tells whether a member is subscribed to a topic, or why that can not be told.
	subscriptions() (func(topic string) bool, Code)

	list(out *kmsg.ListGroupsResponseGroup)
	describe(out *kmsg.DescribeGroupsResponseGroup) bool                 // false: not a classic group
	describeConsumers(out *kmsg.ConsumerGroupDescribeResponseGroup) bool // false: not of the consumer protocol
}

// commitCheck is what an offset commit says of its sender.
type commitCheck struct {
	memberID, instance string
	generation         int32 // or member epoch; negative: none
	version            int16
	partitions         []record.Partition
}
