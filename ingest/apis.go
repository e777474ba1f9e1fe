package ingest

// The API keys served. Source: the Kafka protocol guide.
const (
	keyProduce                    int16 = 0
	keyFetch                      int16 = 1
	keyListOffsets                int16 = 2
	keyMetadata                   int16 = 3
	keyOffsetCommit               int16 = 8
	keyOffsetFetch                int16 = 9
	keyFindCoordinator            int16 = 10
	keyJoinGroup                  int16 = 11
	keyHeartbeat                  int16 = 12
	keyLeaveGroup                 int16 = 13
	keySyncGroup                  int16 = 14
	keyDescribeGroups             int16 = 15
	keyListGroups                 int16 = 16
	keyAPIVersions                int16 = 18
	keyCreateTopics               int16 = 19
	keyDeleteTopics               int16 = 20
	keyDeleteRecords              int16 = 21
	keyInitProducerID             int16 = 22
	keyOffsetForLeaderEpoch       int16 = 23
	keyDescribeConfigs            int16 = 32
	keyAlterConfigs               int16 = 33
	keyDescribeLogDirs            int16 = 35
	keyCreatePartitions           int16 = 37
	keyDeleteGroups               int16 = 42
	keyIncrementalAlterConfigs    int16 = 44
	keyListPartitionReassignments int16 = 46
	keyOffsetDelete               int16 = 47
	keyDescribeCluster            int16 = 60
	keyDescribeProducers          int16 = 61
	keyConsumerHeartbeat          int16 = 68
	keyConsumerDescribe           int16 = 69
	keyListConfigResources        int16 = 74
	keyDescribeTopicPartitions    int16 = 75
)

// api is one row of what ApiVersions advertises.
type api struct {
	key      int16
	min, max int16 // advertised
	serve    int16 // lowest version that is answered; below it the connection is closed
	flexible int16 // first flexible version
}

// apis returns the served APIs in key order. Transactions (24-28), SASL (17, 36), ACLs and everything else of Kafka are
// left out until they exist: a client may use whatever is advertised.
//
// Low ends that look odd are there for librdkafka, which judges a broker by them: with Produce from 3 it drops gzip,
// snappy and lz4 silently (KAFKA-18659), with FindCoordinator from 1 its groups hang without an error.
func apis() [33]api {
	return [...]api{
		{keyProduce, 0, 13, 3, 9},
		{keyFetch, 4, 17, 4, 12},
		{keyListOffsets, 0, 11, 0, 6},
		{keyMetadata, 0, 13, 0, 9},
		{keyOffsetCommit, 0, 10, 0, 8},
		{keyOffsetFetch, 0, 10, 0, 6},
		{keyFindCoordinator, 0, 6, 0, 3},
		{keyJoinGroup, 0, 9, 0, 6},
		{keyHeartbeat, 0, 4, 0, 4},
		{keyLeaveGroup, 0, 5, 0, 4},
		{keySyncGroup, 0, 5, 0, 4},
		{keyDescribeGroups, 0, 6, 0, 5},
		{keyListGroups, 0, 5, 0, 3},
		{keyAPIVersions, 0, 5, 0, 3},
		{keyCreateTopics, 0, 7, 0, 5},
		{keyDeleteTopics, 0, 6, 0, 4},
		{keyDeleteRecords, 0, 2, 0, 2},
		{keyInitProducerID, 0, 5, 0, 2},
		{keyOffsetForLeaderEpoch, 0, 4, 0, 4},
		{keyDescribeConfigs, 0, 4, 0, 4},
		{keyAlterConfigs, 0, 2, 0, 2},
		{keyDescribeLogDirs, 1, 5, 1, 2},
		{keyCreatePartitions, 0, 3, 0, 2},
		{keyDeleteGroups, 0, 3, 0, 2},
		{keyIncrementalAlterConfigs, 0, 1, 0, 1},
		{keyListPartitionReassignments, 0, 0, 0, 0},
		{keyOffsetDelete, 0, 0, 0, newest},
		{keyDescribeCluster, 0, 2, 0, 0},
		{keyDescribeProducers, 0, 0, 0, 0},
		{keyConsumerHeartbeat, 0, 1, 0, 0},
		{keyConsumerDescribe, 0, 1, 0, 0},
		{keyListConfigResources, 0, 1, 0, 0},
		{keyDescribeTopicPartitions, 0, 0, 0, 0},
	}
}

// apiOf finds the row of a key.
func apiOf(key int16) (api, bool) {
	for _, a := range apis() {
		if a.key == key {
			return a, true
		}
	}
	return api{}, false
}

// frameCap returns the largest frame, in bytes, that a key may send.
func (c Config) frameCap(key int16) int {
	switch key {
	case keyProduce:
		return c.ProduceBytes
	case keySyncGroup, keyOffsetCommit:
		return 8 << 20
	case keyJoinGroup:
		return 2 << 20 // a member's metadata may have 1 MiB
	case keyFetch, keyHeartbeat:
		return 1 << 20 // 30,000 partitions
	case keyAPIVersions:
		return 64 << 10 // comes first on every connection, before anything is known about the peer
	default:
		return 4 << 20
	}
}
