package ingest

import (
	"context"
	"errors"

	"github.com/bargedata/barge/batcher"
	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/objectstore"
	"github.com/bargedata/barge/record"
)

// code is a Kafka protocol error code.
type code int16

// The codes this server answers with. Source: the Kafka protocol guide. Those of groups are decided in package group.
const (
	codeUnknownServerError       code = -1
	codeNone                     code = 0
	codeOffsetOutOfRange         code = 1
	codeCorruptMessage           code = 2
	codeUnknownTopicOrPartition  code = 3
	codeLeaderNotAvailable       code = 5
	codeNotLeaderOrFollower      code = 6
	codeRequestTimedOut          code = 7
	codeMessageTooLarge          code = 10
	codeCoordinatorNotAvailable  code = 15
	codeInvalidTopic             code = 17
	codeInvalidRequiredAcks      code = 21
	codeInvalidTimestamp         code = 32
	codeUnsupportedVersion       code = 35
	codeTopicAlreadyExists       code = 36
	codeInvalidPartitions        code = 37
	codeInvalidReplicationFactor code = 38
	codeInvalidReplicaAssignment code = 39
	codeInvalidConfig            code = 40
	codeInvalidRequest           code = 42
	codePolicyViolation          code = 44
	codeOutOfOrderSequence       code = 45
	codeInvalidProducerEpoch     code = 47
	codeInvalidTxnState          code = 48
	codeTransactionalIDDenied    code = 53
	codeKafkaStorageError        code = 56
	codeFetchSessionIDNotFound   code = 70
	codeUnknownLeaderEpoch       code = 75
	codeUnsupportedCompression   code = 76
	codeInvalidRecord            code = 87
	codeUnknownTopicID           code = 100
	codeMismatchedEndpointType   code = 114
	codeUnsupportedEndpointType  code = 115
	codeRebootstrapRequired      code = 129
)

// codeOf maps an error of the packages below to a Kafka code. What it does not know is an unknown server error, which
// clients do not retry; callers that can not rule out that the thing was done use ambiguous in front of it.
func codeOf(err error) code {
	switch {
	case err == nil:
		return codeNone

	// batcher, first: its verdict on whether anything was appended counts, not what it wraps
	case errors.Is(err, batcher.ErrOutcomeUnknown):
		return codeRequestTimedOut
	case errors.Is(err, batcher.ErrClosed):
		return codeNotLeaderOrFollower // draining: refresh the metadata, go elsewhere or come back
	case errors.Is(err, batcher.ErrNotWritten):
		return codeKafkaStorageError
	case errors.Is(err, batcher.ErrTooLarge):
		return codeMessageTooLarge

	// metadata
	case errors.Is(err, metadata.ErrUnknownTopic):
		return codeUnknownTopicOrPartition
	case errors.Is(err, metadata.ErrTopicExists):
		return codeTopicAlreadyExists
	case errors.Is(err, metadata.ErrInvalidTopic):
		return codeInvalidTopic
	case errors.Is(err, metadata.ErrInvalidPartitions):
		return codeInvalidPartitions
	case errors.Is(err, metadata.ErrInvalidConfig):
		return codeInvalidConfig
	case errors.Is(err, metadata.ErrOffsetOutOfRange):
		return codeOffsetOutOfRange
	case errors.Is(err, metadata.ErrInvalidCommand):
		return codeInvalidRequest
	case errors.Is(err, metadata.ErrOutOfOrderSequence):
		return codeOutOfOrderSequence
	case errors.Is(err, metadata.ErrInvalidProducerEpoch):
		return codeInvalidProducerEpoch
	case errors.Is(err, metadata.ErrUnavailable), errors.Is(err, metadata.ErrFenced), errors.Is(err, metadata.ErrUnknown),
		errors.Is(err, metadata.ErrSessionSealed), errors.Is(err, metadata.ErrOutOfOrderCounter),
		errors.Is(err, metadata.ErrLevel), errors.Is(err, metadata.ErrConflict): // nothing was done: it may work the next time
		return codeRequestTimedOut
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return codeRequestTimedOut

	// record
	case errors.Is(err, record.ErrCorrupt), errors.Is(err, record.ErrTruncated):
		return codeCorruptMessage
	case errors.Is(err, record.ErrUnknownCodec):
		return codeUnsupportedCompression
	case errors.Is(err, record.ErrMagic), errors.Is(err, record.ErrInvalid), errors.Is(err, record.ErrTooLarge):
		return codeInvalidRecord

	// objectstore
	case errors.Is(err, objectstore.ErrFull), errors.Is(err, objectstore.ErrDenied), errors.Is(err, objectstore.ErrNoBucket),
		errors.Is(err, objectstore.ErrNotFound):
		return codeKafkaStorageError
	case errors.Is(err, objectstore.ErrUnknown):
		return codeRequestTimedOut

	default:
		return codeUnknownServerError
	}
}

// producedCode maps the fate of a batch that was handed to the batcher. A cause that is not known to mean "not
// appended" is REQUEST_TIMED_OUT: the client sends the batch again, and the log knows whether it has it.
func producedCode(err error) code {
	if c := codeOf(err); c != codeUnknownServerError {
		return c
	}
	return codeRequestTimedOut
}

// messageOf is the text beside a code: the error's own, without what a log would need.
func messageOf(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
