package metadata

import "errors"

// Sentinels a caller acts on; compare with errors.Is. ingest maps them to Kafka codes.
var (
	ErrUnknownTopic         = errors.New("unknown topic or partition")
	ErrTopicExists          = errors.New("topic exists")
	ErrInvalidTopic         = errors.New("invalid topic name")
	ErrInvalidPartitions    = errors.New("invalid number of partitions")
	ErrInvalidConfig        = errors.New("invalid topic config")
	ErrOutOfOrderSequence   = errors.New("out of order sequence number")
	ErrInvalidProducerEpoch = errors.New("invalid producer epoch")
	ErrSessionSealed        = errors.New("session is sealed")
	ErrOutOfOrderCounter    = errors.New("commit out of counter order")
	ErrConflict             = errors.New("key changed meanwhile")
	ErrTopicClaimed         = errors.New("topic is claimed by another job")
	ErrStaleClaim           = errors.New("job claim is not live")
	ErrStaleInput           = errors.New("input changed meanwhile")
	ErrOffsetOutOfRange     = errors.New("offset out of range")
	// ErrHeld: the batch is held back and not judged yet. No caller of a Sequencer meets it.
	ErrHeld  = errors.New("batch is held back")
	ErrLevel = errors.New("metadata level too low")
	// ErrInvalidCommand: the command contradicts itself (lengths, order, bounds). The caller has a bug; nothing changed.
	ErrInvalidCommand = errors.New("invalid metadata command")

	// ErrFenced: a newer term owns the log. Stop; somebody else is the sequencer.
	ErrFenced = errors.New("fenced by a newer term")
	// ErrUnknown: an append may or may not be durable; the caller repeats the same call and answers nobody meanwhile.
	ErrUnknown = errors.New("append outcome unknown")
	// ErrTruncated: the entries asked for are gone; start from a snapshot.
	ErrTruncated = errors.New("log truncated")
	// ErrUnavailable: the sequencer can not be reached or is stopping; the outcome of a submitted command is unknown.
	ErrUnavailable = errors.New("metadata unavailable")
	// ErrEnded comes with ErrUnavailable when this sequencer will never answer again (it was fenced or stopped): there is
	// nobody to repeat the call to.
	ErrEnded = errors.New("sequencer has ended")
	// ErrNewer: the log was written by a newer barge than this one, which must stop: what it does not understand it can not
	// apply. The text names both numbers.
	ErrNewer = errors.New("a newer barge is needed")
	// ErrMoved: this log has ended, and another one goes on for the cluster.
	ErrMoved = errors.New("the metadata log was moved from here by `barge metadata copy`")
	// ErrCorrupt: bytes of the log or a snapshot fail their checks.
	ErrCorrupt = errors.New("metadata corrupt")
)
