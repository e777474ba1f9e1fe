//go:build realworld

package test

import (
	"github.com/twmb/franz-go/pkg/kmsg"
)

// rawCases are the requests, in the order in which they are sent. A later one may see what an earlier one did.
func rawCases(broker string) []rawCase {
	var cases []rawCase
	for _, part := range [][]rawCase{rawTopics(), rawConfigs(broker), rawRecords(), rawGroups(), rawRest()} {
		cases = append(cases, part...)
	}
	return cases
}

func rawTopics() []rawCase {
	create := func(name, topic string, change func(*kmsg.CreateTopicsRequest, *kmsg.CreateTopicsRequestTopic)) rawCase {
		return of(name, func(int16) kmsg.Request { return createOf(topic, change) })
	}
	return []rawCase{
		of("a new topic", func(v int16) kmsg.Request { return createOf(versioned("new", v), nil) }),
		at(1, "only validated", func(int16) kmsg.Request {
			return createOf("validated", func(r *kmsg.CreateTopicsRequest, _ *kmsg.CreateTopicsRequestTopic) { r.ValidateOnly = true })
		}),
		create("a topic that is there", rawTopic, nil),
		create("an empty name", "", nil),
		create("a dot", ".", nil),
		create("a blank in the name", "a b", nil),
		create("a name of 250 bytes", long, nil),
		create("no partitions", "none", func(_ *kmsg.CreateTopicsRequest, t *kmsg.CreateTopicsRequestTopic) { t.NumPartitions = 0 }),
		create("-2 partitions", "none", func(_ *kmsg.CreateTopicsRequest, t *kmsg.CreateTopicsRequestTopic) { t.NumPartitions = -2 }),
		create("replication factor 0", "none", func(_ *kmsg.CreateTopicsRequest, t *kmsg.CreateTopicsRequestTopic) { t.ReplicationFactor = 0 }),
		at(4, "defaults", func(v int16) kmsg.Request {
			return createOf(versioned("defaults", v), func(_ *kmsg.CreateTopicsRequest, t *kmsg.CreateTopicsRequestTopic) {
				t.NumPartitions, t.ReplicationFactor = -1, -1
			})
		}),
		create("an unknown config", "bad", createConfig("retention.mss", "1")),
		create("a config out of range", "bad", createConfig("max.message.bytes", "-1")),
		create("a config that is no number", "bad", createConfig("retention.ms", "soon")),
		create("a config that is none of the list", "bad", createConfig("cleanup.policy", "shred")),
		of("a topic with configs", func(v int16) kmsg.Request {
			return createOf(versioned("with", v), createConfig("retention.ms", "3600000"))
		}),
		of("twice in one request", func(int16) kmsg.Request {
			r := createOf("twice", nil)
			r.Topics = append(r.Topics, r.Topics[0])
			return r
		}),
		of("names that differ in dot and underscore", func(v int16) kmsg.Request {
			r := createOf(versioned("a.b", v), nil)
			return r
		}),
		of("the same with an underscore", func(v int16) kmsg.Request { return createOf(versioned("a_b", v), nil) }),
		of("no topics", func(int16) kmsg.Request { return metadataOf() }),
		of("metadata of one topic", func(int16) kmsg.Request { return metadataOf(rawTopic) }),
		of("metadata of a topic that is not there", func(int16) kmsg.Request { return metadataOf("nowhere") }),
		of("metadata of an illegal name", func(int16) kmsg.Request { return metadataOf("a b") }),
		of("metadata of the same twice", func(int16) kmsg.Request { return metadataOf(rawTopic, rawTopic) }),
		at(8, "metadata with what one may do", func(int16) kmsg.Request {
			r := metadataOf(rawTopic)
			r.IncludeTopicAuthorizedOperations, r.IncludeClusterAuthorizedOperations = true, true
			return r
		}),
		at(12, "metadata by an id that is not there", func(int16) kmsg.Request {
			r := metadataOf()
			r.Topics = append(r.Topics, kmsg.MetadataRequestTopic{TopicID: [16]byte{9, 9}})
			return r
		}),
		of("grow", func(v int16) kmsg.Request { return growOf("grow", 3+int32(v), false) }),
		of("grow, only validated", func(v int16) kmsg.Request { return growOf("grow", 50, true) }),
		of("grow to what it has", func(int16) kmsg.Request { return growOf(rawTopic, 4, false) }),
		of("grow to less", func(int16) kmsg.Request { return growOf(rawTopic, 1, false) }),
		of("grow to nothing", func(int16) kmsg.Request { return growOf(rawTopic, 0, false) }),
		of("grow what is not there", func(int16) kmsg.Request { return growOf("nowhere", 9, false) }),
		of("delete", func(v int16) kmsg.Request { return deleteOf(versioned("new", v)) }),
		of("delete what is not there", func(int16) kmsg.Request { return deleteOf("nowhere") }),
		at(6, "delete by an id that is not there", func(int16) kmsg.Request {
			r := deleteOf()
			r.Topics = append(r.Topics, kmsg.DeleteTopicsRequestTopic{TopicID: [16]byte{9, 9}})
			return r
		}),
		of("partitions of a topic", func(int16) kmsg.Request {
			r := kmsg.NewPtrDescribeTopicPartitionsRequest()
			r.ResponsePartitionLimit = 3
			r.Topics = []kmsg.DescribeTopicPartitionsRequestTopic{{Topic: rawTopic}, {Topic: "nowhere"}}
			return r
		}),
	}
}

func rawConfigs(broker string) []rawCase {
	topic, brokers := kmsg.ConfigResourceTypeTopic, kmsg.ConfigResourceTypeBroker
	set, del, app, sub := kmsg.IncrementalAlterConfigOpSet, kmsg.IncrementalAlterConfigOpDelete, kmsg.IncrementalAlterConfigOpAppend, kmsg.IncrementalAlterConfigOpSubtract
	alter := func(name, config string, op kmsg.IncrementalAlterConfigOp, value *string) rawCase {
		return of(name, func(int16) kmsg.Request { return alterOf("altered", op, config, value, false) })
	}
	text := kmsg.StringPtr
	described := func(name string) rawCase {
		return of(name, func(int16) kmsg.Request { return describeOf(topic, "altered") })
	}
	return []rawCase{
		of("all configs of a topic", func(int16) kmsg.Request { return describeOf(topic, rawTopic) }),
		of("two configs of a topic", func(int16) kmsg.Request { return describeOf(topic, rawTopic, "retention.ms", "nonsense") }),
		of("configs of a topic that is not there", func(int16) kmsg.Request { return describeOf(topic, "nowhere") }),
		of("configs of an illegal name", func(int16) kmsg.Request { return describeOf(topic, "a b") }),
		of("some configs of a broker", func(int16) kmsg.Request {
			return describeOf(brokers, broker, "auto.create.topics.enable", "num.partitions", "default.replication.factor", "log.retention.ms")
		}),
		of("configs of a broker that is no number", func(int16) kmsg.Request { return describeOf(brokers, "first") }),
		of("configs of something else", func(int16) kmsg.Request { return describeOf(99, "x") }),
		alter("set", "retention.ms", set, text("7200000")),
		alter("set a list", "cleanup.policy", set, text("delete")),
		described("after it was set"),
		alter("append", "cleanup.policy", app, text("compact")),
		described("after it was appended to"),
		alter("subtract", "cleanup.policy", sub, text("compact")),
		described("after it was subtracted from"),
		alter("delete", "retention.ms", del, nil),
		described("after it was deleted"),
		alter("append to what is no list", "retention.ms", app, text("1")),
		alter("set an unknown config", "retention.mss", set, text("1")),
		alter("set nonsense", "retention.ms", set, text("soon")),
		alter("set nothing", "retention.ms", set, nil),
		alter("an operation that is not there", "retention.ms", 9, text("1")),
		alter("values for different codecs", "compression.type", set, text("gzip")),
		alter("the codec a producer chose", "compression.type", set, text("producer")),
		of("alter a topic that is not there", func(int16) kmsg.Request { return alterOf("nowhere", set, "retention.ms", text("1"), false) }),
		of("alter, only validated", func(int16) kmsg.Request { return alterOf("altered", set, "retention.ms", text("5"), true) }),
		of("the same config twice", func(int16) kmsg.Request {
			r := alterOf("altered", set, "retention.ms", text("5"), false)
			r.Resources[0].Configs = append(r.Resources[0].Configs, r.Resources[0].Configs[0])
			return r
		}),
		of("the same topic twice", func(int16) kmsg.Request {
			r := alterOf("altered", set, "retention.ms", text("5"), false)
			r.Resources = append(r.Resources, r.Resources[0])
			return r
		}),
		of("replace all configs", func(int16) kmsg.Request { return replaceConfigsOf("altered", "segment.ms", "3600000") }),
		described("after all were replaced"),
		of("replace by nonsense", func(int16) kmsg.Request { return replaceConfigsOf("altered", "segment.ms", "soon") }),
	}
}

func rawRecords() []rawCase {
	send := func(name, topic string, partition int32, acks int16, records []byte) rawCase {
		return at(3, name, func(int16) kmsg.Request { return produceTo(topic, partition, acks, records) })
	}
	fetch := func(name string, partition int32, offset int64, change func(*kmsg.FetchRequest, *kmsg.FetchRequestTopicPartition)) rawCase {
		return of(name, func(int16) kmsg.Request { return fetchFrom(rawTopic, partition, offset, change) })
	}
	list := func(name string, timestamp int64, from int16) rawCase {
		return at(from, name, func(int16) kmsg.Request { return listOf(rawTopic, 0, timestamp, -1) })
	}
	changed := func(change func(*kmsg.RecordBatch)) []byte { return batchOf(change, "a", "b") }
	return []rawCase{
		// Partition 0 gets one batch of two records a version; the others get none, so that what is read of them is known.
		send("two records", rawTopic, 0, -1, batchOf(nil, "a", "b")),
		send("two records, acks 1", rawTopic, 0, 1, batchOf(nil, "a", "b")),
		send("acks 2", rawTopic, 1, 2, batchOf(nil, "a")),
		send("to a topic that is not there", "nowhere", 0, -1, batchOf(nil, "a")),
		send("to a partition that is not there", rawTopic, 9, -1, batchOf(nil, "a")),
		send("to partition -1", rawTopic, -1, -1, batchOf(nil, "a")),
		send("a batch with another CRC", rawTopic, 1, -1, changed(func(b *kmsg.RecordBatch) { b.CRC = 5 })),
		send("a batch of magic 1", rawTopic, 1, -1, changed(func(b *kmsg.RecordBatch) { b.Magic = 1 })),
		send("two batches", rawTopic, 1, -1, append(batchOf(nil, "a"), batchOf(nil, "b")...)),
		send("a batch that counts wrong", rawTopic, 1, -1, changed(func(b *kmsg.RecordBatch) { b.NumRecords = 3 })),
		send("a last offset that is wrong", rawTopic, 1, -1, changed(func(b *kmsg.RecordBatch) { b.LastOffsetDelta = 5 })),
		send("a control batch", rawTopic, 1, -1, changed(func(b *kmsg.RecordBatch) { b.Attributes = 1 << 5 })),
		send("a producer without a sequence", rawTopic, 1, -1, changed(func(b *kmsg.RecordBatch) { b.ProducerID, b.ProducerEpoch = 5, 0 })),
		send("bytes that are no batch", rawTopic, 1, -1, []byte("no batch at all, but long enough to have a header of sixty-one bytes")),
		send("a part of a batch", rawTopic, 1, -1, batchOf(nil, "a")[:65]),
		send("a record too large", "small", 0, -1, batchOf(nil, long, long, long)),
		send("a time too far ahead", "timely", 0, -1, changed(func(b *kmsg.RecordBatch) { b.FirstTimestamp, b.MaxTimestamp = 1<<42, 1<<42 })),
		send("a record without key to a compacted topic", "compacted", 0, -1, batchOf(nil, "a")),
		send("to a topic that stamps", "stamped", 0, -1, batchOf(nil, "a")),
		fetch("from the start", 0, 0, func(r *kmsg.FetchRequest, _ *kmsg.FetchRequestTopicPartition) { r.MaxBytes = 1 << 20 }),
		fetch("in the middle of a batch", 0, 1, func(_ *kmsg.FetchRequest, p *kmsg.FetchRequestTopicPartition) { p.PartitionMaxBytes = 1 }),
		fetch("of an empty partition", 1, 0, nil),
		fetch("beyond the end", 1, 5, nil),
		fetch("below the start", 1, -1, nil),
		fetch("of a partition that is not there", 9, 0, nil),
		fetch("with a newer epoch", 1, 0, func(_ *kmsg.FetchRequest, p *kmsg.FetchRequestTopicPartition) { p.CurrentLeaderEpoch = 7 }),
		fetch("without bytes", 0, 0, func(r *kmsg.FetchRequest, p *kmsg.FetchRequestTopicPartition) { r.MaxBytes, p.PartitionMaxBytes = 0, 0 }),
		fetch("what is committed", 0, 0, func(r *kmsg.FetchRequest, p *kmsg.FetchRequestTopicPartition) {
			r.IsolationLevel, p.PartitionMaxBytes = 1, 1
		}),
		at(7, "fetch of a session that is not there", func(int16) kmsg.Request {
			return fetchFrom(rawTopic, 1, 0, func(r *kmsg.FetchRequest, _ *kmsg.FetchRequestTopicPartition) { r.SessionID, r.SessionEpoch = 77, 5 })
		}),
		of("fetch of a topic that is not there", func(int16) kmsg.Request { return fetchFrom("nowhere", 0, 0, nil) }),
		list("the end", -1, 1), list("the start", -2, 1), list("the newest record", -3, 7), list("the local start", -4, 8),
		list("the tiered end", -5, 9), list("time -7", -7, 1), list("a time before all", rawTime-1, 1), list("the time of all", rawTime, 1), list("a time after all", rawTime+1, 1),
		of("the end of a topic that is not there", func(int16) kmsg.Request { return listOf("nowhere", 0, -1, -1) }),
		at(4, "the end in a newer epoch", func(int16) kmsg.Request { return listOf(rawTopic, 0, -1, 7) }),
		of("the end of epoch 0", func(int16) kmsg.Request { return epochOf(rawTopic, 1, -1, 0) }),
		of("the end of a newer epoch", func(int16) kmsg.Request { return epochOf(rawTopic, 1, -1, 7) }),
		of("the end of epoch -1", func(int16) kmsg.Request { return epochOf(rawTopic, 1, -1, -1) }),
		of("the end of an epoch of a topic that is not there", func(int16) kmsg.Request { return epochOf("nowhere", 0, -1, 0) }),
		of("delete some records", func(v int16) kmsg.Request { return recordsBefore(rawTopic, 0, 2+int64(v)) }),
		of("delete records beyond the end", func(int16) kmsg.Request { return recordsBefore(rawTopic, 1, 99) }),
		of("delete all records", func(int16) kmsg.Request { return recordsBefore("small", 0, -1) }),
		of("delete records before -2", func(int16) kmsg.Request { return recordsBefore("small", 0, -2) }),
		of("delete records of a topic that is not there", func(int16) kmsg.Request { return recordsBefore("nowhere", 0, 1) }),
		fetch("below what was deleted", 0, 0, nil),
		list("the start after that", -2, 1),
	}
}

func rawGroups() []rawCase {
	join := func(name, group string, change func(*kmsg.JoinGroupRequest)) rawCase {
		return of(name, func(int16) kmsg.Request { return joinOf(group, change) })
	}
	commit := func(name, group, topic string, partition int32, change func(*kmsg.OffsetCommitRequest, *kmsg.OffsetCommitRequestTopicPartition)) rawCase {
		return of(name, func(int16) kmsg.Request { return commitOf(group, topic, partition, 5, change) })
	}
	heartbeat := func(name, group string, change func(*kmsg.ConsumerGroupHeartbeatRequest)) rawCase {
		return of(name, func(int16) kmsg.Request { return memberOf(group, change) })
	}
	return []rawCase{
		of("the coordinator of a group", func(int16) kmsg.Request { return coordinatorOf(0, "simple") }),
		of("the coordinator of an empty group", func(int16) kmsg.Request { return coordinatorOf(0, "") }),
		at(1, "the coordinator of something else", func(int16) kmsg.Request { return coordinatorOf(9, "simple") }),
		join("join an empty group", "", nil),
		join("join with a session too short", "short", func(r *kmsg.JoinGroupRequest) { r.SessionTimeoutMillis = 10 }),
		join("join with a session too long", "short", func(r *kmsg.JoinGroupRequest) { r.SessionTimeoutMillis = 1 << 30 }),
		join("join as a member nobody knows", "unknown", func(r *kmsg.JoinGroupRequest) { r.MemberID = "nobody" }),
		join("join without protocols", "without", func(r *kmsg.JoinGroupRequest) { r.Protocols = nil }),
		at(4, "join for the first time", func(int16) kmsg.Request { return joinOf("first", nil) }),
		of("sync as a member nobody knows", func(int16) kmsg.Request {
			r := kmsg.NewPtrSyncGroupRequest()
			r.Group, r.MemberID, r.Generation = "unknown", "nobody", 3
			r.ProtocolType, r.Protocol = kmsg.StringPtr("consumer"), kmsg.StringPtr("range")
			return r
		}),
		of("a heartbeat of a member nobody knows", func(int16) kmsg.Request {
			r := kmsg.NewPtrHeartbeatRequest()
			r.Group, r.MemberID, r.Generation = "unknown", "nobody", 3
			return r
		}),
		of("a member nobody knows leaves", func(int16) kmsg.Request {
			r := kmsg.NewPtrLeaveGroupRequest()
			r.Group, r.MemberID = "unknown", "nobody"
			r.Members = []kmsg.LeaveGroupRequestMember{{MemberID: "nobody"}}
			return r
		}),
		commit("commit", "simple", rawTopic, 0, nil),
		commit("commit in a generation", "generation", rawTopic, 0, func(r *kmsg.OffsetCommitRequest, _ *kmsg.OffsetCommitRequestTopicPartition) {
			r.Generation, r.MemberID = 3, "nobody"
		}),
		commit("commit in a generation of a group that is there", "simple", rawTopic, 0, func(r *kmsg.OffsetCommitRequest, _ *kmsg.OffsetCommitRequestTopicPartition) {
			r.Generation, r.MemberID = 3, "nobody"
		}),
		commit("commit for a topic that is not there", "simple", "nowhere", 0, nil),
		commit("commit for a partition that is not there", "simple", rawTopic, 9, nil),
		commit("commit with much metadata", "simple", rawTopic, 1, func(_ *kmsg.OffsetCommitRequest, p *kmsg.OffsetCommitRequestTopicPartition) {
			m := string(make([]byte, 5000))
			p.Metadata = &m
		}),
		commit("commit without metadata", "simple", rawTopic, 2, func(_ *kmsg.OffsetCommitRequest, p *kmsg.OffsetCommitRequestTopicPartition) { p.Metadata = nil }),
		commit("commit in an empty group", "", rawTopic, 3, nil),
		of("what was committed", func(int16) kmsg.Request { return committedOf("simple", rawTopic, 0, 1, 2, 9) }),
		at(2, "all that was committed", func(int16) kmsg.Request { return committedOf("simple", "") }),
		of("what a group committed that is not there", func(int16) kmsg.Request { return committedOf("unknown", rawTopic, 0) }),
		of("what was committed for a topic that is not there", func(int16) kmsg.Request { return committedOf("simple", "nowhere", 0) }),
		at(7, "what was committed for good", func(int16) kmsg.Request {
			r := committedOf("simple", rawTopic, 0)
			r.RequireStable = true
			return r
		}),
		of("describe groups", func(int16) kmsg.Request {
			r := kmsg.NewPtrDescribeGroupsRequest()
			r.Groups = []string{"simple", "unknown"}
			r.IncludeAuthorizedOperations = true
			return r
		}),
		of("list groups", func(int16) kmsg.Request { return kmsg.NewPtrListGroupsRequest() }),
		at(4, "list groups in a state", func(int16) kmsg.Request {
			r := kmsg.NewPtrListGroupsRequest()
			r.StatesFilter = []string{"Stable"}
			return r
		}),
		at(5, "list groups of a type", func(int16) kmsg.Request {
			r := kmsg.NewPtrListGroupsRequest()
			r.TypesFilter = []string{"consumer"}
			return r
		}),
		of("delete an offset", func(int16) kmsg.Request {
			r := kmsg.NewPtrOffsetDeleteRequest()
			r.Group = "simple"
			r.Topics = []kmsg.OffsetDeleteRequestTopic{{Topic: rawTopic, Partitions: []kmsg.OffsetDeleteRequestTopicPartition{{Partition: 2}, {Partition: 9}}}}
			return r
		}),
		of("delete an offset of a group that is not there", func(int16) kmsg.Request {
			r := kmsg.NewPtrOffsetDeleteRequest()
			r.Group = "unknown"
			r.Topics = []kmsg.OffsetDeleteRequestTopic{{Topic: rawTopic, Partitions: []kmsg.OffsetDeleteRequestTopicPartition{{Partition: 0}}}}
			return r
		}),
		of("delete groups", func(int16) kmsg.Request {
			r := kmsg.NewPtrDeleteGroupsRequest()
			r.Groups = []string{"unknown", ""}
			return r
		}),
		heartbeat("a member joins a group without a name", "", nil),
		heartbeat("a member with epoch -3", "modern", func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.MemberEpoch = -3 }),
		heartbeat("a member nobody knows, epoch 5", "modern", func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.MemberEpoch = 5 }),
		heartbeat("a member that names no topics", "modern", func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.SubscribedTopicNames = nil }),
		heartbeat("a member with an assignor nobody has", "modern", func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.ServerAssignor = kmsg.StringPtr("fair") }),
		at(1, "a member with a regular expression that is none", func(int16) kmsg.Request {
			return memberOf("modern", func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.SubscribedTopicRegex = kmsg.StringPtr("(") })
		}),
		heartbeat("a member joins", "joined", nil),
		heartbeat("it leaves", "joined", func(r *kmsg.ConsumerGroupHeartbeatRequest) {
			r.MemberEpoch, r.SubscribedTopicNames, r.Topics, r.RebalanceTimeoutMillis = -1, nil, nil, -1
		}),
		of("describe modern groups", func(int16) kmsg.Request {
			r := kmsg.NewPtrConsumerGroupDescribeRequest()
			r.Groups = []string{"unknown", "simple"}
			return r
		}),
	}
}

func rawRest() []rawCase {
	return []rawCase{
		of("versions", func(int16) kmsg.Request {
			r := kmsg.NewPtrApiVersionsRequest()
			r.ClientSoftwareName, r.ClientSoftwareVersion = "compare", "1.0"
			return r
		}),
		at(3, "versions, from a client with a bad name", func(int16) kmsg.Request {
			r := kmsg.NewPtrApiVersionsRequest()
			r.ClientSoftwareName, r.ClientSoftwareVersion = "a b", "1.0"
			return r
		}),
		of("a producer id", func(int16) kmsg.Request { return producerOf(nil) }),
		of("a producer id for an empty transactional id", func(int16) kmsg.Request {
			return producerOf(func(r *kmsg.InitProducerIDRequest) { r.TransactionalID = kmsg.StringPtr("") })
		}),
		at(3, "half of a producer's identity", func(int16) kmsg.Request {
			return producerOf(func(r *kmsg.InitProducerIDRequest) { r.ProducerID = 5 })
		}),
		of("the cluster", func(int16) kmsg.Request {
			r := kmsg.NewPtrDescribeClusterRequest()
			r.EndpointType = 1
			return r
		}),
		of("what one may do to the cluster", func(int16) kmsg.Request {
			r := kmsg.NewPtrDescribeClusterRequest()
			r.EndpointType, r.IncludeClusterAuthorizedOperations = 1, true
			return r
		}),
		at(1, "the controllers", func(int16) kmsg.Request {
			r := kmsg.NewPtrDescribeClusterRequest()
			r.EndpointType = 2
			return r
		}),
		of("the producers of partitions", func(int16) kmsg.Request {
			r := kmsg.NewPtrDescribeProducersRequest()
			r.Topics = []kmsg.DescribeProducersRequestTopic{{Topic: rawTopic, Partitions: []int32{1, 9}}, {Topic: "nowhere", Partitions: []int32{0}}}
			return r
		}),
		of("config resources", func(int16) kmsg.Request {
			r := kmsg.NewPtrListConfigResourcesRequest()
			r.ResourceTypes = []int8{2}
			return r
		}),
		of("reassignments", func(int16) kmsg.Request {
			r := kmsg.NewPtrListPartitionReassignmentsRequest()
			r.TimeoutMillis = 10_000
			return r
		}),
		of("quotas", func(int16) kmsg.Request {
			r := kmsg.NewPtrDescribeClientQuotasRequest()
			return r
		}),
	}
}
