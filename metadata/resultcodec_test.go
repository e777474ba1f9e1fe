package metadata

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/bargedata/barge/record"
)

// everyResult is one result of each type, every field set.
func everyResult() []Result {
	wrapped := fmt.Errorf("topic %q: %w", "logs", ErrTopicExists)
	return []Result{
		OpenSessionResult{Session: 1 << 40},
		SealSessionResult{ErrInvalidCommand},
		ForgetSessionResult{ErrStaleInput},
		RaiseLevelResult{ErrLevel},
		CommitObjectResult{Batches: [][]BatchResult{
			{{BaseOffset: 77, LogStartOffset: 5}, {BaseOffset: 78, LogStartOffset: 5, Duplicate: true}, {Err: ErrOutOfOrderSequence, BaseOffset: -1, LogStartOffset: -1}},
			{{Err: ErrHeld, BaseOffset: -1}, {Err: ErrInvalidProducerEpoch, BaseOffset: -1}, {BaseOffset: 1<<62 - 1}},
			{},
		}},
		CommitObjectResult{Err: fmt.Errorf("%w: %d results wait to be settled", ErrOutOfOrderCounter, 1024)},
		AllocateProducerIDsResult{First: 12345},
		CreateTopicResult{Err: wrapped, Topic: Topic{ID: record.TopicID{1, 2, 15: 3}, Name: "logs", Partitions: 4, Configs: map[string]string{"a": "b"}, TableDir: "tables/logs", CreatedAt: 1_790_000_000_000}},
		DeleteTopicResult{ErrUnknownTopic},
		AlterTopicConfigsResult{Err: ErrConflict, Topic: Topic{ID: record.TopicID{15: 3}, Name: "logs", Partitions: 4, Configs: map[string]string{"a": "b"}, TableDir: "tables/logs", CreatedAt: 9}},
		CreatePartitionsResult{Topic: Topic{ID: record.TopicID{15: 3}, Name: "logs", Partitions: 9, TableDir: "tables/logs", CreatedAt: 9}},
		SetKeysResult{Err: ErrConflict, Version: 9, ConflictKey: "g/1"},
		ClaimJobResult{Err: ErrTopicClaimed, Job: 7},
		ReleaseJobResult{},
		ReplaceResult{ErrStaleClaim},
		ProjectedResult{ErrStaleInput},
		ForgetObjectsResult{errors.New("an error that has no number")},
		ForgetTopicResult{},
		DeleteRecordsResult{Err: ErrLevel, Moves: []LogStartResult{{LogStart: 1 << 40}, {Err: ErrUnknownTopic, LogStart: -1}, {Err: ErrOffsetOutOfRange}}},
		ApplyRetentionResult{Moved: []LogStartMove{{Partition: record.Partition{Topic: record.TopicID{15: 3}, Index: 7}, To: 99}}},
	}
}

func TestResultsTravel(t *testing.T) {
	for _, res := range everyResult() {
		encoded := EncodeResult(res)
		got, err := DecodeResult(encoded)
		if err != nil {
			t.Errorf("%#v: %v", res, err)
			continue
		}
		want, have := reflect.ValueOf(res).FieldByName("Err"), reflect.ValueOf(got).FieldByName("Err")
		if reflect.TypeOf(got) != reflect.TypeOf(res) || fmt.Sprint(want) != fmt.Sprint(have) {
			t.Errorf("%#v came back as %#v", res, got)
		}
		if !bytes.Equal(EncodeResult(got), encoded) {
			t.Errorf("%#v came back as %#v, which encodes otherwise", res, got)
		}
	}
	commit := everyResult()[4]
	if got, _ := DecodeResult(EncodeResult(commit)); fmt.Sprint(got) != fmt.Sprint(commit) {
		t.Errorf("%v came back as %v", commit, got)
	}
}

// An error means on the other agent what it meant here: errors.Is finds the sentinel, bare ones are the very same, and the text
// is the one that was written.
func TestErrorsKeepTheirNameOnTheWay(t *testing.T) {
	for i, is := range wireErrors() {
		if is == nil {
			continue
		}
		for _, err := range []error{is, fmt.Errorf("replace %d: %w", i, is)} {
			got, decodeErr := DecodeResult(EncodeResult(ReplaceResult{err}))
			if decodeErr != nil {
				t.Fatal(decodeErr)
			}
			back := got.(ReplaceResult).Err
			if !errors.Is(back, is) || back.Error() != err.Error() || err == is && back != is { //nolint:errorlint // the bare sentinel is wanted
				t.Errorf("%v came back as %#v", err, back)
			}
			for j, other := range wireErrors() {
				if other != nil && j != i && errors.Is(back, other) {
					t.Errorf("%v came back as %v", err, other)
				}
			}
		}
	}
	long := fmt.Errorf("%s: %w", strings.Repeat("ü", maxErrorText), ErrConflict)
	got, err := DecodeResult(EncodeResult(ReplaceResult{long}))
	if err != nil || !errors.Is(got.(ReplaceResult).Err, ErrConflict) || len(got.(ReplaceResult).Err.Error()) > maxErrorText {
		t.Errorf("a long error: %v, %v", got, err)
	}
	// A number of a later release, and a result of one.
	later := EncodeResult(ReplaceResult{errors.New("news")})
	later[2] = 200
	if got, err := DecodeResult(later); err != nil || got.(ReplaceResult).Err.Error() != "news" {
		t.Errorf("an unknown number: %v, %v", got, err)
	}
	later[0] = resultVersion + 1
	if _, err := DecodeResult(later); !errors.Is(err, ErrNewer) {
		t.Errorf("a later version: %v", err)
	}
}

// Golden bytes: agents of other releases read them.
func TestResultBytes(t *testing.T) {
	for _, c := range []struct {
		res  Result
		want string
	}{
		{OpenSessionResult{Session: 300}, "010100ac02"},
		{SetKeysResult{Err: ErrConflict, Version: 9, ConflictKey: "g"}, "01070b00090167"},
		{CreatePartitionsResult{Topic: Topic{ID: record.TopicID{15: 3}, Name: "l", Partitions: 9, Configs: map[string]string{"a": "b"}, TableDir: "d", CreatedAt: 2}}, "011600" + "00000000000000000000000000000003" + "016c1201016101620164" + "04"},
		{CommitObjectResult{Batches: [][]BatchResult{{{BaseOffset: 3}, {Err: ErrUnknownTopic, BaseOffset: -1, LogStartOffset: -1}}}}, "01030001020006000002000701" + "00"},
	} {
		if got := fmt.Sprintf("%x", EncodeResult(c.res)); got != c.want {
			t.Errorf("%#v: %s, want %s", c.res, got, c.want)
		}
	}
}

func TestCommandsTravel(t *testing.T) {
	for _, cmd := range slices.Concat(everyCommand().Commands, everyCommand2().Commands, everyCommand3().Commands, logStartCommands().Commands) {
		b, err := EncodeCommand(cmd)
		if err != nil {
			t.Fatal(err)
		}
		got, err := DecodeCommand(b)
		if err != nil {
			t.Fatalf("%#v: %v", cmd, err)
		}
		if again, _ := EncodeCommand(got); !bytes.Equal(again, b) {
			t.Errorf("%#v came back as %#v", cmd, got)
		}
	}
	if _, err := EncodeCommand(nil); !errors.Is(err, ErrInvalidCommand) {
		t.Errorf("no command: %v", err)
	}
	placed := EncodeForFollowers(Entry{Commands: []Command{CommitObject{Size: 3, Inline: []byte("abc"), InlinePos: 40}}})
	if _, err := DecodeCommand(placed[6:]); !errors.Is(err, ErrInvalidCommand) {
		t.Errorf("a command without its object: %v", err)
	}
}

func FuzzDecodeResult(f *testing.F) {
	for _, res := range everyResult() {
		f.Add(EncodeResult(res))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		res, err := DecodeResult(b)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrNewer) {
				t.Fatalf("error without a name: %v", err)
			}
			return
		}
		again, err := DecodeResult(EncodeResult(res))
		if err != nil || fmt.Sprint(again) != fmt.Sprint(res) {
			t.Fatalf("%v came back as %v, %v", res, again, err)
		}
	})
}

func FuzzDecodeForFollowers(f *testing.F) {
	for _, e := range []Entry{everyCommand(), everyCommand2(), everyCommand3(), logStartCommands()} {
		EncodeEntry(e)
		f.Add(EncodeForFollowers(e))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := DecodeForFollowers(b)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrNewer) {
				t.Fatalf("error without a name: %v", err)
			}
			return
		}
		again, err := DecodeForFollowers(EncodeForFollowers(e))
		if err != nil || !reflect.DeepEqual(again, e) {
			t.Fatalf("%+v came back as %+v, %v", e, again, err)
		}
		s := NewState()
		e.Seq = 0
		s.Apply(e)
		if _, err := DecodeState(s.Encode()); err != nil {
			t.Fatalf("the state it makes can not be read: %v", err)
		}
	})
}

func FuzzDecodeCommand(f *testing.F) {
	for _, cmd := range slices.Concat(everyCommand().Commands, everyCommand2().Commands, everyCommand3().Commands, logStartCommands().Commands) {
		f.Add(encodeCommand(cmd))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		cmd, err := DecodeCommand(b)
		if err != nil {
			if !errors.Is(err, ErrInvalidCommand) {
				t.Fatalf("error without a name: %v", err)
			}
			return
		}
		again, err := EncodeCommand(cmd)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := DecodeCommand(again); err != nil || !reflect.DeepEqual(back, cmd) {
			t.Fatalf("%+v came back as %+v, %v", cmd, back, err)
		}
	})
}
