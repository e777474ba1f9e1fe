package sim

import (
	"strings"
	"testing"

	"github.com/bargedata/barge/record"
)

// expect runs a checker on a history that is fine and on one with a fault in it.
func expect(t *testing.T, name string, fine, faulty []Violation, checker, text string) {
	t.Helper()
	if len(fine) > 0 {
		t.Errorf("%s: the history without the fault is blamed: %v", name, fine)
	}
	for _, v := range faulty {
		if v.Checker == checker && strings.Contains(v.Text, text) {
			return
		}
	}
	t.Errorf("%s: want a violation by %s about %q, got %v", name, checker, text, faulty)
}

// plainLog is a log of two terms that keeps its promises.
func plainLog() []LogCall {
	return []LogCall{
		{Op: LogAcquire, Agent: 1, Term: 1, Seq: 1, Began: 1, Ended: 2, OK: true},
		{Op: LogAppend, Agent: 1, Term: 1, Seq: 1, Holds: Digest{1}, Began: 3, Ended: 4, OK: true},
		{Op: LogConfirm, Agent: 1, Term: 1, Seq: 2, Began: 5, Ended: 6, OK: true},
		{Op: LogAppend, Agent: 1, Term: 1, Seq: 2, Holds: Digest{2}, Began: 6, Ended: 7}, // unknown
		{Op: LogAcquire, Agent: 2, Term: 2, Seq: 4, Began: 8, Ended: 9, OK: true},
		{Op: LogRead, Agent: 2, Began: 10, Ended: 11, OK: true, Slots: []LogSlot{{Seq: 1, Term: 1, Holds: Digest{1}}, {Seq: 2, Term: 1, Holds: Digest{2}}}},
		{Op: LogAppend, Agent: 2, Term: 2, Seq: 4, Holds: Digest{4}, Began: 12, Ended: 13, OK: true},
	}
}

func TestCheckLogFinds(t *testing.T) {
	for _, c := range []struct {
		name, text string
		add        LogCall
		end        uint64
	}{
		{"two contents of a slot", "another content", LogCall{Op: LogRead, Agent: 3, OK: true, Began: 14, Ended: 15, Slots: []LogSlot{{Seq: 4, Holds: Digest{9}}}}, 5},
		{"an old term acknowledged", "term 2 begins at 4", LogCall{Op: LogAppend, Agent: 1, Term: 1, Seq: 3, OK: true, Began: 6, Ended: 15}, 5},
		{"one slot for two terms", "to terms 2 and 1", LogCall{Op: LogAppend, Agent: 1, Term: 1, Seq: 4, Holds: Digest{4}, OK: true, Began: 6, Ended: 15}, 5},
		{"a term twice", "was given to agents", LogCall{Op: LogAcquire, Agent: 3, Term: 2, Seq: 5, OK: true, Began: 12, Ended: 15}, 5},
		{"a term that is not higher", "was given after term", LogCall{Op: LogAcquire, Agent: 3, Term: 1, Seq: 6, OK: true, Began: 14, Ended: 15}, 6},
		{"an acquire that misses an append", "was acknowledged before", LogCall{Op: LogAcquire, Agent: 3, Term: 3, Seq: 4, OK: true, Began: 14, Ended: 15}, 5},
		{"a confirm after an append", "confirmed to be free", LogCall{Op: LogConfirm, Agent: 2, Term: 2, Seq: 4, OK: true, Began: 14, Ended: 15}, 5},
		{"a confirm of an old term", "after term 2", LogCall{Op: LogConfirm, Agent: 1, Term: 1, Seq: 9, OK: true, Began: 14, Ended: 15}, 5},
		{"fenced by nobody", "nobody has tried", LogCall{Op: LogAppend, Agent: 2, Term: 2, Seq: 5, Fenced: true, Began: 14, Ended: 15}, 5},
		{"an append that is lost", "the log ends at 4", LogCall{Op: LogAppend, Agent: 2, Term: 2, Seq: 4, Holds: Digest{4}, OK: true, Began: 14, Ended: 15}, 4},
	} {
		expect(t, c.name, CheckLog(plainLog(), 5), CheckLog(append(plainLog(), c.add), c.end), "log", c.text)
	}
}

func part(i int32) record.Partition { return record.Partition{Topic: record.TopicID{1}, Index: i} }

// plainKafka is a history of an idempotent producer (0) and another (1) that keeps its promises.
func plainKafka() *KafkaHistory {
	return &KafkaHistory{
		Sent: []Sent{
			{Producer: 0, Idempotent: true, Partition: part(0), First: 0, Values: []string{"a0", "a1"}, Attempts: 2},
			{Producer: 1, Partition: part(0), First: 0, Values: []string{"b0"}, Attempts: 2},
			{Producer: 0, Idempotent: true, Partition: part(0), First: 2, Values: []string{"a2"}, Attempts: 1},
			{Producer: 1, Partition: part(0), First: 1, Values: []string{"b1"}, Attempts: 1},
		},
		Told: []Told{
			{Sent: 0, Step: 1, Base: 0, Outcome: Committed},
			{Sent: 1, Step: 2, Base: 3, Outcome: Committed},
			{Sent: 2, Step: 3, Base: 4, Outcome: Committed},
			{Sent: 3, Step: 4, Base: -1, Outcome: NotWritten},
		},
		Polled: []Polled{
			{Consumer: 0, Agent: 1, Partition: part(0), From: 0, LogEnd: 5, Records: []Seen{{0, "a0"}, {1, "a1"}}},
			{Consumer: 0, Agent: 1, Partition: part(0), From: 1, LogEnd: 5, Records: []Seen{{0, "a0"}, {1, "a1"}, {2, "b0"}}},
			{Consumer: 0, Agent: 1, Partition: part(0), From: 5, LogEnd: 5},
		},
		Looked: []Looked{{Partition: part(0), Began: 5, Ended: 6, LogEnd: 5}, {Partition: part(0), Began: 7, Ended: 8, LogEnd: 5}},
		IDs:    []int64{1, 2},
		Final:  []FinalLog{{Partition: part(0), LogEnd: 5, Records: []Seen{{0, "a0"}, {1, "a1"}, {2, "b0"}, {3, "b0"}, {4, "a2"}}}},
	}
}

func TestCheckKafkaFinds(t *testing.T) {
	final := func(values ...string) func(*KafkaHistory) {
		return func(h *KafkaHistory) {
			h.Final[0].Records, h.Final[0].LogEnd, h.Polled = nil, record.Offset(len(values)), nil
			for i, v := range values {
				h.Final[0].Records = append(h.Final[0].Records, Seen{record.Offset(i), v})
			}
		}
	}
	for _, c := range []struct {
		name, text string
		breakIt    func(*KafkaHistory)
	}{
		{"two values at one offset", "inconsistent offset", func(h *KafkaHistory) { h.Polled[0].Records[1].Value = "x" }},
		{"a lost write", "lost write", final("a0", "a1", "b0", "b0")},
		{"a duplicate of an idempotent producer", "duplicate: a2 is there 2", final("a0", "a1", "b0", "b0", "a2", "a2")},
		{"a duplicate that nothing explains", "duplicate: b0 is there 3", final("a0", "a1", "b0", "b0", "a2", "b0")},
		{"a write that was told not written", "phantom: every attempt to write b1", final("a0", "a1", "b0", "b0", "a2", "b1")},
		{"reordering", "reordering: a0", final("a2", "b0", "a0", "a1")},
		{"a hole", "hole: a2 follows a0", func(h *KafkaHistory) {
			final("a0", "a1", "b0", "b0", "a2")(h)
			h.Sent[2].First = 3
		}},
		{"a gap", "gap", func(h *KafkaHistory) { h.Final[0].Records = h.Final[0].Records[:4] }},
		{"a skipping poll", "skipping poll", func(h *KafkaHistory) { h.Polled[0].Records = []Seen{{1, "a1"}} }},
		{"a poll that goes back", "skipping poll", func(h *KafkaHistory) { h.Polled[0].Records = []Seen{{0, "a0"}, {0, "a0"}} }},
		{"an empty poll", "empty poll", func(h *KafkaHistory) { h.Polled[0].Records = nil }},
		{"a poll beyond the end", "beyond the end", func(h *KafkaHistory) { h.Polled[0].LogEnd, h.Polled[0].From = 1, 0 }},
		{"out of range", "is out of range", func(h *KafkaHistory) { h.Polled[2].OutOfRange = true }},
		{"two offsets of one batch", "acknowledged at 2 offsets", func(h *KafkaHistory) {
			h.Told = append(h.Told, Told{Sent: 2, Base: 3, Outcome: Committed})
		}},
		{"an end that goes back", "went back", func(h *KafkaHistory) { h.Looked[0].LogEnd = 9 }},
		{"an end below an acknowledged record", "had been acknowledged", func(h *KafkaHistory) { h.Looked[1].LogEnd, h.Looked[0].LogEnd = 4, 4 }},
		{"an agent's end that goes back", "took the end", func(h *KafkaHistory) { h.Polled[2].LogEnd = 4 }},
		{"a refusal without cause", "was refused", func(h *KafkaHistory) { h.Told[3].Unjust = true }},
		{"a producer id given twice", "given twice", func(h *KafkaHistory) { h.IDs[1] = 1 }},
	} {
		faulty := plainKafka()
		c.breakIt(faulty)
		expect(t, c.name, CheckKafka(plainKafka()), CheckKafka(faulty), "kafka", c.text)
	}
}

// plainTable is a table of two versions, and a file that waits for the third.
func plainTable() TableHistory {
	return TableHistory{
		Topic: "t",
		Versions: []TableVersion{
			{Version: 0, Files: []string{"f0"}, Ends: map[int32]record.Offset{0: 2}},
			{Version: 1, Files: []string{"f0", "f1"}, Ends: map[int32]record.Offset{0: 3, 1: 1}},
		},
		Files: map[string][]Row{
			"f0": {{0, 0, "a"}, {0, 1, "b"}},
			"f1": {{0, 2, "c"}, {1, 0, "x"}},
			"f2": {{0, 3, "d"}},
		},
		Pending: []string{"f2"},
		Ends:    []record.Offset{4, 1},
		Logs: map[int32]*FinalLog{
			0: {LogEnd: 5, Records: []Seen{{0, "a"}, {1, "b"}, {2, "c"}, {3, "d"}, {4, "e"}}},
			1: {LogEnd: 1, Records: []Seen{{0, "x"}}},
		},
	}
}

func TestCheckTablesFinds(t *testing.T) {
	for _, c := range []struct {
		name, text string
		breakIt    func(*TableHistory)
	}{
		{"a missing version", "version 1 is missing", func(h *TableHistory) { h.Versions[1].Version = 2 }},
		{"progress that goes back", "puts partition 0 back", func(h *TableHistory) { h.Versions[1].Ends[0] = 1 }},
		{"a row beyond the progress", "beyond its progress", func(h *TableHistory) { h.Versions[0].Ends[0] = 1 }},
		{"a row that is missing", "lacks offset 2", func(h *TableHistory) { h.Files["f1"] = h.Files["f1"][1:] }},
		{"a row that is there twice", "twice", func(h *TableHistory) { h.Files["f1"] = append(h.Files["f1"], Row{0, 0, "a"}) }},
		{"a wrong row", "the log holds", func(h *TableHistory) { h.Files["f0"][1].Value = "z" }},
		{"a file that is gone", "can not be read", func(h *TableHistory) { delete(h.Files, "f0") }},
		{"a pending file that is lost", "lacks offset 3", func(h *TableHistory) { h.Pending = nil }},
	} {
		faulty := plainTable()
		c.breakIt(&faulty)
		expect(t, c.name, CheckTables([]TableHistory{plainTable()}), CheckTables([]TableHistory{faulty}), "table", c.text)
	}
}

func TestCheckObjectsFinds(t *testing.T) {
	fine := []ObjectEvent{
		{Kind: Referenced, Key: "a", Exists: true},
		{Kind: Deleted, Key: "b", Role: Released, Age: 10, Grace: 10},
		{Kind: Deleted, Key: "c", Role: Strange},
		{Kind: Deleted, Key: "d", Role: Dropped},
		{Kind: Deleted, Key: "e", Role: Slot, Below: 3, Top: 3, Age: 5, Grace: 5},
		{Kind: LeftOver, Key: "f", Late: true},
		{Kind: Raised, Key: "g", Below: 3, Top: 3},
	}
	for _, c := range []struct {
		name, text string
		event      ObjectEvent
	}{
		{"other bytes", "other bytes", ObjectEvent{Kind: Rewritten}},
		{"a reference to nothing", "is not there", ObjectEvent{Kind: Referenced}},
		{"a leftover", "left over", ObjectEvent{Kind: LeftOver}},
		{"a live object", "State refers", ObjectEvent{Kind: Deleted, Role: Live}},
		{"a table's file", "live table refers", ObjectEvent{Kind: Deleted, Role: TableOnly}},
		{"an output", "live job", ObjectEvent{Kind: Deleted, Role: Output}},
		{"no grace", "grace is", ObjectEvent{Kind: Deleted, Role: Released, Age: 9, Grace: 10}},
		{"what may be committed", "may still commit", ObjectEvent{Kind: Deleted, Role: Strange, MayCommit: true}},
		{"a boundary that is too high", "new boundary", ObjectEvent{Kind: Raised, Below: 4, Top: 3}},
		{"a slot that is needed", "only those below", ObjectEvent{Kind: Deleted, Role: Slot, Below: 4, Top: 3}},
		{"a young slot", "must live", ObjectEvent{Kind: Deleted, Role: Slot, Below: 1, Top: 3, Age: 4, Grace: 5}},
	} {
		expect(t, c.name, CheckObjects(fine), CheckObjects(append(fine[:len(fine):len(fine)], c.event)), "objects", c.text)
	}
}

func TestCheckStatesFinds(t *testing.T) {
	fine := []StateSeen{{Seq: 1, Holds: Digest{1}, From: "a"}, {Seq: 2, Holds: Digest{2}, From: "a"}, {Seq: 2, Holds: Digest{2}, From: "b"}}
	faulty := append(fine[:3:3], StateSeen{Seq: 1, Holds: Digest{7}, From: "c"})
	expect(t, "two states", CheckStates(fine), CheckStates(faulty), "state", "entry 1")
}

func TestCheckEndsAndUnseenFind(t *testing.T) {
	told := func(client, agent, began int, end record.Offset) Looked {
		return Looked{Client: client, Agent: agent, Heard: true, Partition: part(0), Began: began, Ended: began + 1, LogEnd: end}
	}
	fine := func() *KafkaHistory {
		h := plainKafka()
		h.Looked = []Looked{told(0, 1, 5, 5), told(0, 2, 7, 5), {Client: 0, Agent: 3, Partition: part(0), Began: 9, Ended: 10, LogEnd: 1}} // the last one was not heard
		h.AtRest = []AtRest{{Agent: 1, Step: 20, Partition: part(0), LogEnd: 5}}
		return h
	}
	for _, c := range []struct {
		name, checker, text string
		breakIt             func(*KafkaHistory)
	}{
		{"an end that goes back on another agent", "stale", "later by agent 2", func(h *KafkaHistory) { h.Looked[0].LogEnd, h.Looked[1].LogEnd = 9, 8 }},
		{"an end below what was acknowledged", "stale", "had been acknowledged at 4", func(h *KafkaHistory) { h.Looked[0].LogEnd = 4 }},
		{"a high watermark that goes back on its agent", "stale", "later by agent 1", func(h *KafkaHistory) {
			h.Polled = []Polled{{Heard: true, Agent: 1, Partition: part(0), Began: 1, Step: 2, LogEnd: 5}, {Heard: true, Agent: 1, Partition: part(0), Began: 3, Step: 4, LogEnd: 4}}
		}},
		{"a high watermark that goes back on another agent", "stale", "later by agent 2", func(h *KafkaHistory) {
			h.Polled = []Polled{{Heard: true, Agent: 1, Partition: part(0), Began: 1, Step: 2, LogEnd: 5}, {Heard: true, Agent: 2, Partition: part(0), Began: 3, Step: 4, LogEnd: 4}}
		}},
		{"an agent that does not show all", "unseen", "agent 1 shows", func(h *KafkaHistory) { h.AtRest[0].LogEnd = 4 }},
	} {
		faulty := fine()
		c.breakIt(faulty)
		expect(t, c.name, append(CheckEnds(fine()), CheckUnseen(fine())...), append(CheckEnds(faulty), CheckUnseen(faulty)...), c.checker, c.text)
	}
}

func TestCheckReadsFinds(t *testing.T) {
	fine := []StoreRead{
		{Zone: "a", Agent: 1, Key: "k", Len: 5},
		{Zone: "b", Agent: 2, Key: "k", Len: 5},
		{Zone: "a", Agent: 3, Key: "k", Pos: 5, Len: 5},
		{Zone: "a", Agent: 3, Key: "l", Len: 5},
		{AtEnd: true, Zone: "a", Agent: 3, Key: "k", Len: 5},
	}
	faulty := append(fine[:len(fine):len(fine)], StoreRead{Zone: "a", Agent: 4, Key: "k", Pos: 5, Len: 5})
	expect(t, "an object that is read twice in a zone", CheckReads(fine), CheckReads(faulty), "zone", "agent 4 read 5 bytes at 5 of k")
}

func TestCheckSharesFinds(t *testing.T) {
	fine := []Shared{{Work: "sweep", Agents: []int{1}}, {Work: "spans/1", Agents: []int{2}}}
	for name, agents := range map[string][]int{"work that two do": {1, 2}, "work that nobody does": nil} {
		expect(t, name, CheckShares(fine), CheckShares(append(fine[:2:2], Shared{Work: "x", Agents: agents})), "upkeep", "x is done by the agents")
	}
}

func TestCheckStartsFinds(t *testing.T) {
	topic := part(0).Topic
	plain := func() *History {
		return &History{
			Starts: StartHistory{
				Moved: []StartMoved{
					{Partition: part(0), Step: 10, From: 0, To: 5, Wanted: 5, CompactedEnd: 3, KeepMillis: -1},
					{Partition: part(0), Step: 20, From: 5, To: 8, Wanted: retained, CompactedEnd: 9, EntryTime: 2000, KeepMillis: 100},
				},
				Told: []StartTold{{Agent: 1, Step: 12, Partition: part(0), LogStart: 5}},
			},
			Kafka: KafkaHistory{
				Polled: []Polled{
					{Agent: 1, Step: 11, Partition: part(0), From: 2, LogStart: 5, LogEnd: 9, OutOfRange: true},
					{Agent: 2, Step: 12, Partition: part(0), From: 2, LogStart: 0, LogEnd: 9}, // its View is behind
					{Agent: 1, Step: 25, Partition: part(0), From: 8, LogStart: 8, LogEnd: 9},
				},
				Looked: []Looked{{Agent: 1, Began: 13, Ended: 14, Partition: part(0), LogStart: 5, LogEnd: 9}},
				AtRest: []AtRest{{Agent: 1, Step: 30, Partition: part(0), LogStart: 8, LogEnd: 9}},
				Final:  []FinalLog{{Partition: part(0), LogStart: 8, LogEnd: 9}, {Partition: part(1)}},
			},
			Tables: []TableHistory{{ID: topic, Files: map[string][]Row{"f": {
				{Offset: 5, Value: "a at 1800"}, {Offset: 7, Value: `b at 1899 key "k"`}, {Offset: 8, Value: "c at 1950"}, {Partition: 1, Offset: 6, Value: "d at 1999"},
			}}}},
		}
	}
	for _, c := range []struct {
		name, text string
		change     func(h *History)
	}{
		{"a start that goes back", "went back from 8 to 6", func(h *History) {
			h.Starts.Moved = append(h.Starts.Moved, StartMoved{Partition: part(0), Step: 40, From: 8, To: 6, Wanted: 8, KeepMillis: -1})
		}},
		{"a start nobody asked for", "was to start at 4, and starts at 5", func(h *History) { h.Starts.Moved[0].Wanted = 4 }},
		{"retention of what is not compacted", "beyond its compacted end", func(h *History) { h.Starts.Moved[1].CompactedEnd = 7 }},
		{"retention too early", "was retained for 100 ms of 100", func(h *History) { h.Tables[0].Files["f"][1].Value = "b at 1900" }},
		{"a start that is not there yet", "starts at 5, and it starts at 0", func(h *History) { h.Kafka.Polled[0].Step = 9 }},
		{"a start taken back", "took the start of", func(h *History) { h.Kafka.Polled[2].LogStart = 4 }},
		{"out of range above the start", "offset 5 is out of range", func(h *History) { h.Kafka.Polled[0].From = 5 }},
		{"a look at a start that is not there yet", "starts at 8, and it starts at 5", func(h *History) { h.Kafka.Looked[0].LogStart = 8 }},
		{"a look that misses an answer", "after agent 1 had answered", func(h *History) { h.Kafka.Looked[0].LogStart = 4 }},
		{"an agent that is behind at rest", "when all is at rest", func(h *History) { h.Kafka.AtRest[0].LogStart = 5 }},
		{"an end elsewhere", "starts at 5 in the end", func(h *History) { h.Kafka.Final[0].LogStart = 5 }},
		{"an end without any entry", "starts at 1 in the end", func(h *History) { h.Kafka.Final[1].LogStart = 1 }},
	} {
		faulty := plain()
		c.change(faulty)
		expect(t, c.name, CheckStarts(plain()), CheckStarts(faulty), "starts", c.text)
	}
}

func TestCheckTablesKnowsWhatWasDeleted(t *testing.T) {
	plain := func() []TableHistory {
		return []TableHistory{{
			Topic: "t", Keeps: true, Ends: []record.Offset{6},
			Versions: []TableVersion{{Version: 0, Files: []string{"f"}, Ends: map[int32]record.Offset{0: 2}}, {Version: 1, Files: []string{"f", "g"}, Ends: map[int32]record.Offset{0: 6}}},
			Files:    map[string][]Row{"f": {{Offset: 0, Value: "a"}, {Offset: 1, Value: "b"}}, "g": {{Offset: 4, Value: "e"}, {Offset: 5, Value: "f"}}},
			Logs:     map[int32]*FinalLog{0: {LogStart: 5, LogEnd: 6, Records: []Seen{{5, "f"}}}},
			Moved:    []StartMoved{{From: 0, To: 4, CompactedEnd: 2}, {From: 4, To: 5, CompactedEnd: 6}},
		}}
	}
	for _, c := range []struct {
		name, text string
		change     func(h *TableHistory)
	}{
		{"deleted and in the table", "holds offset 3 of partition 0, which was deleted", func(h *TableHistory) {
			h.Files["g"] = append(h.Files["g"], Row{Offset: 3, Value: "d"})
		}},
		{"compacted, deleted, and not in the table", "lacks offset 1", func(h *TableHistory) { h.Files["f"] = h.Files["f"][:1] }},
		{"retained and not in the table", "lacks offset 4", func(h *TableHistory) { h.Files["g"] = h.Files["g"][1:] }},
	} {
		faulty := plain()
		c.change(&faulty[0])
		expect(t, c.name, CheckTables(plain()), CheckTables(faulty), "table", c.text)
	}
	plainFiles := plain()
	plainFiles[0].Keeps, plainFiles[0].Versions, plainFiles[0].Pending = false, nil, []string{"g"}
	if bad := CheckTables(plainFiles); len(bad) > 0 {
		t.Errorf("a topic without a table keeps nothing below its start: %v", bad)
	}
}
