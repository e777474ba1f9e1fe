package metadata

import (
	"errors"
	"fmt"
	"strings"

	"github.com/bargedata/barge/record"
)

// Results travel from the sequencer to the agent that submitted the command. They are never stored, but agents of two releases
// talk to each other, so what a number means never changes. Source: docs/format/results.md.
const (
	resultVersion   = 1
	maxErrorText    = 1 << 10 // of an error's text, bytes; the rest is cut off
	MaxResultBytes  = 16 << 20
	resultTagObject = tagCommitObject
)

// wireErrors numbers the sentinels that a Result may carry. 0 is none of them; a number is never used again.
func wireErrors() []error {
	return []error{
		nil,                     // 0
		ErrUnknownTopic,         // 1
		ErrTopicExists,          // 2
		ErrInvalidTopic,         // 3
		ErrInvalidPartitions,    // 4
		ErrInvalidConfig,        // 5
		ErrOutOfOrderSequence,   // 6
		ErrInvalidProducerEpoch, // 7
		ErrSessionSealed,        // 8
		ErrOutOfOrderCounter,    // 9
		ErrConflict,             // 10
		ErrTopicClaimed,         // 11
		ErrStaleClaim,           // 12
		ErrStaleInput,           // 13
		ErrOffsetOutOfRange,     // 14
		ErrHeld,                 // 15
		ErrLevel,                // 16
		ErrInvalidCommand,       // 17
	}
}

// carriedError is an error that came from another agent: its text, and the sentinel it wraps.
type carriedError struct {
	text string
	is   error
}

func (e *carriedError) Error() string { return e.text }
func (e *carriedError) Unwrap() error { return e.is }

// error writes 0 for nil, else 1 + the number of the sentinel, and the text where it is not the sentinel's own.
func (w *wireWriter) error(err error) {
	if err == nil {
		w.byte(0)
		return
	}
	n, text := 0, err.Error()
	for i, is := range wireErrors() {
		if is != nil && errors.Is(err, is) {
			n = i
			if text == is.Error() {
				text = ""
			}
			break
		}
	}
	if len(text) > maxErrorText {
		text = strings.ToValidUTF8(text[:maxErrorText], "")
	}
	w.byte(byte(1 + n))
	w.string(text)
}

func (r *wireReader) error() error {
	n := int(r.byte())
	if n == 0 {
		return nil
	}
	text := r.string()
	if len(text) > maxErrorText {
		r.fail("error text too long")
	}
	known := wireErrors()
	if n--; n >= len(known) { // of a later release: what it is called must do
		n = 0
	}
	switch is := known[n]; {
	case is == nil && text == "":
		r.fail("error without a name")
		return nil
	case is == nil:
		return errors.New(text)
	case text == "" || text == is.Error():
		return is
	default:
		return &carriedError{text, is}
	}
}

// EncodeResult renders what a command was answered with, for DecodeResult on another agent.
func EncodeResult(res Result) []byte {
	w := wireWriter{}
	w.byte(resultVersion)
	switch res := res.(type) {
	case OpenSessionResult:
		w.byte(tagOpenSession)
		w.error(res.Err)
		w.uvarint(uint64(res.Session))
	case SealSessionResult:
		w.byte(tagSealSession)
		w.error(res.Err)
	case ForgetSessionResult:
		w.byte(tagForgetSession)
		w.error(res.Err)
	case RaiseLevelResult:
		w.byte(tagRaiseLevel)
		w.error(res.Err)
	case CommitObjectResult:
		w.byte(resultTagObject)
		w.error(res.Err)
		w.batchFates(res.Batches)
	case AllocateProducerIDsResult:
		w.byte(tagAllocateProducerIDs)
		w.error(res.Err)
		w.varint(res.First)
	case CreateTopicResult:
		w.byte(tagCreateTopic)
		w.error(res.Err)
		w.topic(&res.Topic)
	case AlterTopicConfigsResult:
		w.byte(tagAlterTopicConfigs)
		w.error(res.Err)
		w.topic(&res.Topic)
	case CreatePartitionsResult:
		w.byte(tagCreatePartitions)
		w.error(res.Err)
		w.topic(&res.Topic)
	case DeleteTopicResult:
		w.byte(tagDeleteTopic)
		w.error(res.Err)
	case SetKeysResult:
		w.byte(tagSetKeys)
		w.error(res.Err)
		w.uvarint(res.Version)
		w.string(res.ConflictKey)
	case ClaimJobResult:
		w.byte(tagClaimJob)
		w.error(res.Err)
		w.uvarint(uint64(res.Job))
	case ReleaseJobResult:
		w.byte(tagReleaseJob)
		w.error(res.Err)
	case ReplaceResult:
		w.byte(tagReplace)
		w.error(res.Err)
	case ProjectedResult:
		w.byte(tagProjected)
		w.error(res.Err)
	case ForgetObjectsResult:
		w.byte(tagForgetObjects)
		w.error(res.Err)
	case ForgetTopicResult:
		w.byte(tagForgetTopic)
		w.error(res.Err)
	case DeleteRecordsResult:
		w.byte(tagDeleteRecords)
		w.error(res.Err)
		w.count(len(res.Moves))
		for _, m := range res.Moves {
			w.error(m.Err)
			w.varint(int64(m.LogStart))
		}
	case ApplyRetentionResult:
		w.byte(tagApplyRetention)
		w.error(res.Err)
		w.logStartMoves(res.Moved)
	}
	return w.b
}

// DecodeResult reads what EncodeResult wrote; it shares nothing with b. The Errs in it satisfy errors.Is as the first ones did,
// and read the same. Memory is bounded by len(b), times about five. Errors: ErrNewer - of a version this barge does not know;
// ErrCorrupt - every other fault.
func DecodeResult(b []byte) (Result, error) {
	if len(b) > MaxResultBytes {
		return nil, fmt.Errorf("%w: result of %d bytes, at most %d", ErrCorrupt, len(b), MaxResultBytes)
	}
	r := wireReader{b: b}
	switch version := r.byte(); {
	case version > resultVersion:
		r.newer("a result has version", uint64(version), resultVersion)
	case version < resultVersion:
		r.fail("result version 0")
	}
	res := r.result()
	if err := r.end(); err != nil {
		return nil, fmt.Errorf("decode result of %d bytes: %w", len(b), err)
	}
	return res, nil
}

func (r *wireReader) result() Result {
	tag := r.byte()
	err := r.error()
	if r.err != nil {
		return nil
	}
	switch tag {
	case tagOpenSession:
		return OpenSessionResult{Err: err, Session: SessionID(r.uvarint())}
	case tagSealSession:
		return SealSessionResult{err}
	case tagForgetSession:
		return ForgetSessionResult{err}
	case tagRaiseLevel:
		return RaiseLevelResult{err}
	case resultTagObject:
		return CommitObjectResult{Err: err, Batches: r.batchFates()}
	case tagAllocateProducerIDs:
		return AllocateProducerIDsResult{Err: err, First: r.varint()}
	case tagCreateTopic:
		return CreateTopicResult{Err: err, Topic: r.topic()}
	case tagAlterTopicConfigs:
		return AlterTopicConfigsResult{Err: err, Topic: r.topic()}
	case tagCreatePartitions:
		return CreatePartitionsResult{Err: err, Topic: r.topic()}
	case tagDeleteTopic:
		return DeleteTopicResult{err}
	case tagSetKeys:
		return SetKeysResult{Err: err, Version: r.uvarint(), ConflictKey: r.string()}
	case tagClaimJob:
		return ClaimJobResult{Err: err, Job: JobID(r.uvarint())}
	case tagReleaseJob:
		return ReleaseJobResult{err}
	case tagReplace:
		return ReplaceResult{err}
	case tagProjected:
		return ProjectedResult{err}
	case tagForgetObjects:
		return ForgetObjectsResult{err}
	case tagForgetTopic:
		return ForgetTopicResult{err}
	case tagDeleteRecords:
		return DeleteRecordsResult{Err: err, Moves: r.logStarts()}
	case tagApplyRetention:
		return ApplyRetentionResult{Err: err, Moved: r.logStartMoves()}
	}
	r.fail(fmt.Sprintf("result tag %d is not known", tag))
	return nil
}

func (r *wireReader) logStarts() (moves []LogStartResult) {
	for range r.count(2) {
		m := LogStartResult{Err: r.error(), LogStart: record.Offset(r.varint())}
		if r.err != nil {
			return nil
		}
		moves = append(moves, m)
	}
	return moves
}

// batchFates spends five bytes or so on a batch: offsets of one run are written as differences.
func (w *wireWriter) batchFates(runs [][]BatchResult) {
	w.count(len(runs))
	for _, run := range runs {
		w.count(len(run))
		var prev BatchResult
		for i := range run {
			b := &run[i]
			w.error(b.Err)
			w.varint(int64(b.BaseOffset - prev.BaseOffset))
			w.varint(int64(b.LogStartOffset - prev.LogStartOffset))
			w.bool(b.Duplicate)
			prev = *b
		}
	}
}

func (r *wireReader) batchFates() [][]BatchResult {
	var runs [][]BatchResult
	for range r.count(1) {
		run := make([]BatchResult, 0, r.count(4))
		var prev BatchResult
		for range cap(run) {
			prev = BatchResult{Err: r.error(), BaseOffset: prev.BaseOffset + record.Offset(r.varint()), LogStartOffset: prev.LogStartOffset + record.Offset(r.varint()), Duplicate: r.bool()}
			if r.err != nil {
				return nil
			}
			run = append(run, prev)
		}
		runs = append(runs, run)
	}
	return runs
}

// EncodeCommand renders cmd as it travels to the sequencer. Errors: ErrInvalidCommand - there is none, or it is larger than
// an entry can be.
func EncodeCommand(cmd Command) ([]byte, error) {
	if cmd == nil {
		return nil, fmt.Errorf("%w: none given", ErrInvalidCommand)
	}
	encoded := encodeCommand(cmd)
	if len(encoded) > maxCommandBytes {
		return nil, fmt.Errorf("%w: %T of %d bytes, at most %d", ErrInvalidCommand, cmd, len(encoded), maxCommandBytes)
	}
	return encoded, nil
}

// DecodeCommand reads what EncodeCommand wrote; it shares nothing with b. Errors: ErrInvalidCommand, for every fault.
func DecodeCommand(b []byte) (Command, error) {
	if len(b) > maxCommandBytes {
		return nil, fmt.Errorf("%w: of %d bytes, at most %d", ErrInvalidCommand, len(b), maxCommandBytes)
	}
	r := wireReader{b: b}
	c := r.command(entryVersion3)
	if err := r.end(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalidCommand, err)
	}
	return c, nil
}
