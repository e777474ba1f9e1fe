package metadata

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/bargedata/barge/record"
)

// TestScripts plays the stories of testdata/*.txt against a State: each "apply" is one entry, one line a command. After
// every entry the state must survive a snapshot, keep its invariants, and at the end equal what the encoded entries give
// when replayed (I9).
func TestScripts(t *testing.T) {
	datadriven.Walk(t, "testdata/scripts", func(t *testing.T, path string) {
		t.Helper()
		s := &script{t: t, view: NewView(), time: 1000}
		datadriven.RunTest(t, path, s.run)
		replayed := NewState()
		for _, body := range s.entries {
			e, err := DecodeEntry(body)
			if err != nil {
				t.Fatal(err)
			}
			replayed.Apply(e)
		}
		if !bytes.Equal(replayed.Encode(), s.view.state.Encode()) {
			t.Error("replaying the encoded entries gives another state (I9)")
		}
	})
}

type script struct {
	t       *testing.T
	view    *View
	time    int64
	entries [][]byte
	topics  map[string]record.TopicID // first of a name
}

func (s *script) run(t *testing.T, d *datadriven.TestData) string {
	t.Helper()
	switch d.Cmd {
	case "apply":
		return s.apply(d)
	case "show":
		return s.show(d)
	case "locate":
		return s.locate(d)
	default:
		t.Fatalf("%s: unknown directive %q", d.Pos, d.Cmd)
		return ""
	}
}

func (s *script) apply(d *datadriven.TestData) string {
	if d.HasArg("time") {
		d.ScanArgs(s.t, "time", &s.time)
	}
	if d.HasArg("later") { // milliseconds
		var ms int64
		d.ScanArgs(s.t, "later", &ms)
		s.time += ms
	}
	e := Entry{Seq: s.view.Applied(), Term: 1, Time: s.time}
	for line := range strings.Lines(d.Input) {
		e.Commands = append(e.Commands, s.parse(strings.TrimSpace(line)))
	}
	body := EncodeEntry(e)
	s.entries = append(s.entries, body)
	var out strings.Builder
	for _, r := range s.view.Apply(e) {
		fmt.Fprintln(&out, resultString(r))
	}
	s.check(d)
	return out.String()
}

// check holds the state to its invariants and to its snapshot.
func (s *script) check(d *datadriven.TestData) {
	s.t.Helper()
	for _, fault := range stateFaults(s.view.state) {
		s.t.Errorf("%s: %s", d.Pos, fault)
	}
	snapshot := s.view.state.Encode()
	if _, encode := s.view.Freeze(); !bytes.Equal(encode(), snapshot) {
		s.t.Errorf("%s: a frozen state encodes to other bytes", d.Pos)
	}
	restored, err := DecodeState(snapshot)
	if err != nil {
		s.t.Fatalf("%s: %v", d.Pos, err)
	}
	if !bytes.Equal(restored.Encode(), snapshot) {
		s.t.Errorf("%s: a restored state encodes to other bytes", d.Pos)
	}
	for _, fault := range stateFaults(restored) {
		s.t.Errorf("%s: restored: %s", d.Pos, fault)
	}
}

// stateFaults lists what breaks I2, I5 or the conservation of references.
func stateFaults(s *State) (faults []string) {
	refs, inline := map[uint64]int{}, map[uint64]uint64{}
	for id, t := range s.topics {
		runs, size, oldest := 0, record.Len(0), int64(0)
		for i := range t.parts {
			p := &t.parts[i]
			if b := p.bounds(); b.LogStart > b.LastStable || b.LastStable > b.HighWatermark || p.compactedEnd > p.highWatermark || p.logStart > p.compactedEnd {
				faults = append(faults, fmt.Sprintf("I5: %s/%d %+v", id, i, b))
			}
			end, age := p.compactedEnd, int64(0)
			if len(p.runs) > 0 && p.compactedEnd == p.logStart && p.runs[0].base < end && p.runs[0].end > end {
				end = p.runs[0].base // records were deleted up to its middle
			}
			for _, r := range p.runs {
				if r.committedAt < age || r.committedAt > s.time {
					faults = append(faults, fmt.Sprintf("%s/%d: run at %d is of %d, after one of %d", id, i, r.base, r.committedAt, age))
				}
				age = r.committedAt
				if r.base != end {
					faults = append(faults, fmt.Sprintf("I2: %s/%d gap before %d", id, i, r.base))
				}
				end = r.end
				refs[r.object]++
				runs++
				size += r.len
				if runs == 1 || r.committedAt < oldest {
					oldest = r.committedAt
				}
			}
			if end != p.highWatermark {
				faults = append(faults, fmt.Sprintf("I2: %s/%d runs end at %d, high watermark %d", id, i, end, p.highWatermark))
			}
		}
		faults = append(faults, fileFaults(s, t)...)
		if runs != t.runCount || size != t.runBytes || oldest != t.oldest || (s.withRuns[id] != nil) != (runs > 0) {
			faults = append(faults, fmt.Sprintf("topic %s counts %d runs from time %d on, has %d from %d on", id, t.runCount, t.oldest, runs, oldest))
		}
		if (s.withAdds[id] != nil) != (len(t.adds) > 0) {
			faults = append(faults, fmt.Sprintf("topic %s: withAdds is off", id))
		}
	}
	for _, ss := range s.sessions {
		for i := range ss.results {
			if held := ss.results[i].held; held != nil {
				refs[held.object] += len(held.runs)
			}
		}
	}
	for id, o := range s.objects {
		if o.refs != refs[id] || o.refs == 0 {
			faults = append(faults, fmt.Sprintf("I8: object %s counts %d references, has %d", o.name(), o.refs, refs[id]))
		}
		if o.inline {
			inline[id] = o.slot
		}
	}
	faults = append(faults, inlineFaults(s, inline)...)
	for id, ss := range s.sessions {
		if !ss.sealed && ss.agent.understands() < s.level {
			faults = append(faults, fmt.Sprintf("session %d is open and below level %d", id, s.level))
		}
	}
	if len(refs) > len(s.objects) {
		faults = append(faults, "I8: a run refers to no object")
	}
	return faults
}

// fileFaults holds the files of a live topic to its log starts: each is there because the log or the table needs it.
func fileFaults(s *State, t *topicState) (faults []string) {
	spans := map[string]int{}
	for i := range t.parts {
		p := &t.parts[i]
		for k := range p.files {
			f := &p.files[k]
			spans[f.file.Key]++
			if f.end <= p.logStart {
				faults = append(faults, fmt.Sprintf("I5: %s/%d starts at %d and has file [%d, %d)", t.ID, i, p.logStart, f.base, f.end))
			}
			if next := p.compactedEnd; k+1 < len(p.files) && p.files[k+1].base != f.end || k+1 == len(p.files) && f.end != next {
				faults = append(faults, fmt.Sprintf("I2: %s/%d gap after %d", t.ID, i, f.end))
			}
		}
		if len(p.files) > 0 && p.files[0].base > p.logStart || len(p.files) == 0 && p.compactedEnd != p.logStart {
			faults = append(faults, fmt.Sprintf("I2: %s/%d files do not reach the start %d", t.ID, i, p.logStart))
		}
	}
	for i := range t.adds {
		if spans[t.adds[i].File.Key] == 0 {
			spans[t.adds[i].File.Key] = 1
		}
	}
	for _, f := range t.files {
		if spans[f.Key] == 0 {
			faults = append(faults, fmt.Sprintf("topic %s keeps %s for nothing", t.ID, f.Key))
		}
		if !s.known(f.Key) {
			faults = append(faults, fmt.Sprintf("I8: topic %s has %s, which is not known", t.ID, f.Key))
		}
		delete(spans, f.Key)
	}
	for key := range spans {
		faults = append(faults, fmt.Sprintf("I8: topic %s needs %s and has let it go", t.ID, key))
	}
	return faults
}

// inlineFaults holds what State derives of the objects in entries, whose slots are given by id, to what is there.
func inlineFaults(s *State, slots map[uint64]uint64) (faults []string) {
	if len(slots) != s.inline.live {
		faults = append(faults, fmt.Sprintf("I8: %d inline objects counted, %d there", s.inline.live, len(slots)))
	}
	oldest, ok := (&View{state: s}).OldestInline()
	want, found := uint64(0), false
	for _, slot := range slots {
		if !found || slot < want {
			want, found = slot, true
		}
	}
	if ok != found || oldest != want {
		faults = append(faults, fmt.Sprintf("I8: oldest inline object in slot %d (%v), want %d (%v)", oldest, ok, want, found))
	}
	if n := len(s.inline.ids); n > 2*len(slots)+64 {
		faults = append(faults, fmt.Sprintf("%d places for %d inline objects", n, len(slots)))
	}
	return faults
}

// parse reads one command: its verb, then name=value fields; parts of a list stand between bars.
func (s *script) parse(line string) Command {
	head, rest, _ := strings.Cut(line, "|")
	f := fieldsOf(head)
	var list []string
	if rest != "" {
		list = strings.Split(rest, "|")
	}
	switch f.verb {
	case "open-session":
		return OpenSession{Agent: AgentInfo{Address: f.str("address"), Zone: f.str("zone"), Roles: f.list("roles"), Level: uint32(f.num("level"))}}
	case "raise-level":
		return RaiseLevel{Level: uint32(f.num("level"))}
	case "forget-session":
		return ForgetSession{Session: SessionID(f.num("session"))}
	case "seal-session":
		return SealSession{Session: SessionID(f.num("session"))}
	case "producer-ids":
		return AllocateProducerIDs{Count: int32(f.num("count"))}
	case "create":
		c := CreateTopic{Name: f.str("name"), Partitions: int32(f.num("partitions")), ID: topicNumber(f.num("id"))}
		for k, v := range f.values {
			if strings.Contains(k, ".") {
				if c.Configs == nil {
					c.Configs = map[string]string{}
				}
				c.Configs[k] = v
			}
		}
		if s.topics == nil {
			s.topics = map[string]record.TopicID{}
		}
		if _, ok := s.topics[c.Name]; !ok {
			s.topics[c.Name] = c.ID
		}
		return c
	case "delete":
		return DeleteTopic{ID: s.topic(f.str("topic"))}
	case "alter": // alter topic=logs from=a:1,b:2 to=a:3
		return AlterTopicConfigs{ID: s.topic(f.str("topic")), From: configPairs(f.list("from")), To: configPairs(f.list("to"))}
	case "grow":
		return CreatePartitions{ID: s.topic(f.str("topic")), Partitions: int32(f.num("partitions"))}
	case "forget-topic":
		return ForgetTopic{ID: s.topic(f.str("topic"))}
	case "forget-objects":
		return ForgetObjects{Keys: f.list("keys")}
	case "commit":
		c := CommitObject{
			Session: SessionID(f.num("session")), Counter: uint64(f.num("counter")), Settled: uint64(f.num("settled")),
			Key: f.str("key"), Size: 1000,
		}
		if n, ok := f.values["inline"]; ok {
			c.Inline = bytes.Repeat([]byte{7}, int(atoi(s.t, n)))
			c.Size = record.Len(len(c.Inline))
		}
		if _, ok := f.values["size"]; ok {
			c.Size = record.Len(f.num("size"))
		}
		for i, run := range list {
			c.Runs = append(c.Runs, s.commitRun(run))
			for j, batch := range batchFields(run) {
				if strings.HasSuffix(batch, ",held") {
					c.Held = append(c.Held, HeldBatch{int32(i), int32(j)})
				}
			}
		}
		return c
	case "commit-held":
		c := CommitHeld{Session: SessionID(f.num("session")), Counter: uint64(f.num("counter"))}
		for _, at := range f.list("batches") {
			run, batch, _ := strings.Cut(at, ".")
			c.Batches = append(c.Batches, HeldBatch{int32(atoi(s.t, run)), int32(atoi(s.t, batch))})
		}
		return c
	case "set":
		c := SetKeys{Space: f.str("space")}
		for _, op := range list {
			c.Ops = append(c.Ops, keyOp(op))
		}
		return c
	case "claim":
		c := ClaimJob{Session: SessionID(f.num("session")), Outputs: f.list("outputs")}
		for _, name := range f.list("topics") {
			c.Topics = append(c.Topics, s.topic(name))
		}
		return c
	case "release-job":
		return ReleaseJob{Job: JobID(f.num("job"))}
	case "replace":
		c := Replace{Job: JobID(f.num("job"))}
		for _, file := range list {
			if moved, ok := strings.CutPrefix(strings.TrimSpace(file), "moved "); ok {
				c.Moved = s.movedObject(moved)
			} else {
				c.Files = append(c.Files, s.newFile(file))
			}
		}
		return c
	case "delete-records": // logs/0:5 logs/1:-1
		c := DeleteRecords{}
		for _, move := range f.bare {
			p, to, _ := strings.Cut(move, ":")
			c.Moves = append(c.Moves, LogStartMove{Partition: s.partition(p), To: record.Offset(atoi(s.t, to))})
		}
		return c
	case "retain":
		c := ApplyRetention{}
		for _, name := range f.bare {
			c.Topics = append(c.Topics, s.topic(name))
		}
		return c
	case "projected":
		return Projected{Topic: s.topic(f.str("topic")), Version: f.num("version"), UpTo: uint64(f.num("upto"))}
	}
	s.t.Fatalf("unknown command %q", line)
	return nil
}

func configPairs(list []string) map[string]string {
	var m map[string]string
	for _, pair := range list {
		name, value, _ := strings.Cut(pair, ":")
		if m == nil {
			m = map[string]string{}
		}
		m[name] = value
	}
	return m
}

// topic finds an id: "name" is the first of the name, "#5" the topic created with id=5.
func (s *script) topic(name string) record.TopicID {
	if number, ok := strings.CutPrefix(name, "#"); ok {
		n, err := strconv.ParseInt(number, 10, 64)
		if err != nil {
			s.t.Fatal(err)
		}
		return topicNumber(n)
	}
	return s.topics[name]
}

func topicNumber(n int64) (id record.TopicID) {
	id[15], id[14] = byte(n), byte(n>>8)
	return id
}

// batchFields are the fields of a run that describe batches.
func batchFields(run string) []string {
	return slices.DeleteFunc(strings.Fields(run)[1:], func(f string) bool { return strings.HasPrefix(f, "at=") })
}

// commitRun reads "logs/0 at=100 3x50 2x20,p7/0/5,t=9": two batches, of 3 records in 50 bytes and of 2 in 20 by producer 7,
// epoch 0, sequence 5, with timestamp 9.
func (s *script) commitRun(text string) CommitRun {
	var r CommitRun
	for i, field := range strings.Fields(text) {
		if i == 0 {
			r.Partition = s.partition(field)
			continue
		}
		if at, ok := strings.CutPrefix(field, "at="); ok {
			r.Pos = record.Pos(atoi(s.t, at))
			continue
		}
		parts := strings.Split(field, ",")
		records, size, _ := strings.Cut(parts[0], "x")
		b := CommitBatch{Records: int32(atoi(s.t, records)), Len: record.Len(atoi(s.t, size)), ProducerID: -1, MaxTimestamp: s.time}
		for _, p := range parts[1:] {
			if p == "held" {
				continue
			}
			if ts, ok := strings.CutPrefix(p, "t="); ok {
				b.MaxTimestamp = atoi(s.t, ts)
				continue
			}
			n := strings.Split(strings.TrimPrefix(p, "p"), "/")
			b.ProducerID, b.ProducerEpoch, b.BaseSequence = atoi(s.t, n[0]), int16(atoi(s.t, n[1])), int32(atoi(s.t, n[2]))
		}
		r.Batches = append(r.Batches, b)
	}
	return r
}

func (s *script) partition(text string) record.Partition {
	name, index, _ := strings.Cut(text, "/")
	return record.Partition{Topic: s.topic(name), Index: int32(atoi(s.t, index))}
}

// keyOp reads "put a one if=3", "del a", "check a if=0".
func keyOp(text string) KeyOp {
	f := strings.Fields(text)
	op := KeyOp{Key: f[1], Write: f[0] != "check", Delete: f[0] == "del"}
	for _, field := range f[2:] {
		if v, ok := strings.CutPrefix(field, "if="); ok {
			n, _ := strconv.ParseUint(v, 10, 64)
			op.Check, op.Expect = true, n
		} else {
			op.Value = []byte(field)
		}
	}
	return op
}

// newFile reads "topic=logs key=f1 0:0-5 1:0-3 add={}".
func (s *script) newFile(text string) NewFile {
	f := fieldsOf("file " + text)
	nf := NewFile{Topic: s.topic(f.str("topic")), Key: f.str("key"), Size: 100}
	if add, ok := f.values["add"]; ok {
		nf.Add = []byte(add)
	}
	for _, part := range f.bare {
		p, span, _ := strings.Cut(part, ":")
		from, to, _ := strings.Cut(span, "-")
		fp := FilePart{
			Partition: int32(atoi(s.t, p)), Base: record.Offset(atoi(s.t, from)), End: record.Offset(atoi(s.t, to)), RowGroups: 1, MaxTimestamp: s.time,
		}
		fp.Rows = int64(fp.End - fp.Base)
		nf.Rows += fp.Rows
		nf.Parts = append(nf.Parts, fp)
	}
	return nf
}

// movedObject reads "key=m size=200 logs/0:0-7 at=64+90 logs/1:0-2 at=154+20,t=5".
func (s *script) movedObject(text string) *MovedObject {
	f := fieldsOf("moved " + text)
	m := &MovedObject{Key: f.str("key"), Size: 1000}
	if f.str("size") != "" {
		m.Size = record.Len(f.num("size"))
	}
	for _, word := range strings.Fields(text) {
		if place, ok := strings.CutPrefix(word, "at="); ok {
			place, ts, _ := strings.Cut(place, ",t=")
			pos, size, _ := strings.Cut(place, "+")
			r := &m.Runs[len(m.Runs)-1]
			r.Pos, r.Len = record.Pos(atoi(s.t, pos)), record.Len(atoi(s.t, size))
			if ts != "" {
				r.MaxTimestamp = atoi(s.t, ts)
			}
		} else if p, span, ok := strings.Cut(word, ":"); ok {
			from, to, _ := strings.Cut(span, "-")
			m.Runs = append(m.Runs, MovedRun{
				Partition: s.partition(p), Base: record.Offset(atoi(s.t, from)), End: record.Offset(atoi(s.t, to)), MaxTimestamp: s.time,
			})
		}
	}
	return m
}

type fields struct {
	verb   string
	values map[string]string
	bare   []string
}

func fieldsOf(text string) fields {
	words := strings.Fields(text)
	f := fields{verb: words[0], values: map[string]string{}}
	for _, w := range words[1:] {
		if k, v, ok := strings.Cut(w, "="); ok {
			f.values[k] = v
		} else {
			f.bare = append(f.bare, w)
		}
	}
	return f
}

func (f fields) str(name string) string { return f.values[name] }

func (f fields) num(name string) int64 {
	n, _ := strconv.ParseInt(f.values[name], 10, 64)
	return n
}

func (f fields) list(name string) []string {
	if f.values[name] == "" {
		return nil
	}
	return strings.Split(f.values[name], ",")
}

func atoi(t *testing.T, s string) int64 {
	t.Helper()
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func resultString(r Result) string {
	switch r := r.(type) {
	case CommitObjectResult:
		if r.Err != nil {
			return r.Err.Error()
		}
		var runs []string
		for _, batches := range r.Batches {
			var list []string
			for _, b := range batches {
				switch {
				case b.Err != nil:
					list = append(list, b.Err.Error())
				case b.Duplicate:
					list = append(list, fmt.Sprintf("duplicate of %d", b.BaseOffset))
				default:
					list = append(list, fmt.Sprintf("at %d", b.BaseOffset))
				}
			}
			runs = append(runs, strings.Join(list, ", "))
		}
		return "committed: " + strings.Join(runs, " | ")
	case OpenSessionResult:
		return orErr(r.Err, fmt.Sprintf("session %d", r.Session))
	case RaiseLevelResult:
		return orErr(r.Err, "ok")
	case ForgetSessionResult:
		return orErr(r.Err, "ok")
	case AllocateProducerIDsResult:
		return orErr(r.Err, fmt.Sprintf("producer ids from %d", r.First))
	case CreateTopicResult:
		if r.Err != nil && !r.Topic.ID.IsZero() {
			return fmt.Sprintf("%v: #%d", r.Err, r.Topic.ID[15])
		}
		return orErr(r.Err, "created in "+r.Topic.TableDir)
	case AlterTopicConfigsResult:
		return orErr(r.Err, "set:") + topicString(r.Topic)
	case CreatePartitionsResult:
		return orErr(r.Err, "grown:") + topicString(r.Topic)
	case SetKeysResult:
		if r.Err != nil {
			return fmt.Sprintf("%v: %s", r.Err, r.ConflictKey)
		}
		return fmt.Sprintf("version %d", r.Version)
	case ClaimJobResult:
		return orErr(r.Err, fmt.Sprintf("job %d", r.Job))
	case SealSessionResult:
		return orErr(r.Err, "ok")
	case DeleteTopicResult:
		return orErr(r.Err, "ok")
	case ReleaseJobResult:
		return orErr(r.Err, "ok")
	case ReplaceResult:
		return orErr(r.Err, "ok")
	case ProjectedResult:
		return orErr(r.Err, "ok")
	case ForgetObjectsResult:
		return orErr(r.Err, "ok")
	case ForgetTopicResult:
		return orErr(r.Err, "ok")
	case DeleteRecordsResult:
		var list []string
		for _, m := range r.Moves {
			list = append(list, orErr(m.Err, "starts")+fmt.Sprintf(" at %d", m.LogStart))
		}
		return orErr(r.Err, strings.Join(list, ", "))
	case ApplyRetentionResult:
		list := []string{"moved:"}
		for _, m := range r.Moved {
			list = append(list, fmt.Sprintf("#%d/%d to %d", m.Partition.Topic[15], m.Partition.Index, m.To))
		}
		return orErr(r.Err, strings.Join(list, " "))
	}
	return fmt.Sprintf("unknown result %T", r)
}

func topicString(t Topic) string {
	if t.ID.IsZero() {
		return ""
	}
	var set []string
	for _, k := range sortedKeys(t.Configs) {
		set = append(set, k+":"+t.Configs[k])
	}
	return fmt.Sprintf(" %s with %d partitions {%s}", t.Name, t.Partitions, strings.Join(set, ","))
}

func orErr(err error, ok string) string {
	if err != nil {
		return err.Error()
	}
	return ok
}

func (s *script) show(d *datadriven.TestData) string {
	var out strings.Builder
	switch what := d.CmdArgs[0].Key; what {
	case "topic":
		s.showTopic(&out, d.CmdArgs[0].Vals[0])
	case "released":
		for _, r := range s.view.Released() {
			fmt.Fprintf(&out, "%s at %d\n", r.Key, r.ReleasedAt)
		}
	case "keys":
		prefix := ""
		if d.HasArg("prefix") {
			d.ScanArgs(s.t, "prefix", &prefix)
		}
		for _, kv := range s.view.Keys(d.CmdArgs[0].Vals[0], prefix) {
			fmt.Fprintf(&out, "%s=%s version %d\n", kv.Key, kv.Value, kv.Version)
		}
	case "tables":
		for _, t := range s.view.PendingTables(record.TopicID{}, 1000) {
			fmt.Fprintf(&out, "%s in %s version %d\n", t.Topic.Name, t.Topic.TableDir, t.Version)
			for _, a := range t.Adds {
				fmt.Fprintf(&out, "  entry %d: %s %s\n", a.Seq, a.File.Key, a.Add)
			}
		}
	case "tombstones":
		for _, t := range s.view.Tombstones() {
			fmt.Fprintf(&out, "#%d %s in %s", t.ID[15], t.Name, t.TableDir)
			for _, f := range s.view.Files(t.ID) {
				fmt.Fprintf(&out, " %s", f.Key)
			}
			fmt.Fprintln(&out)
		}
	case "jobs":
		for _, j := range s.view.Jobs() {
			fmt.Fprintf(&out, "job %d of session %d: %d topics, outputs %v\n", j.ID, j.Session, len(j.Topics), j.Outputs)
		}
	case "sessions":
		for _, ss := range s.view.Sessions() {
			fmt.Fprintf(&out, "session %d of %q sealed=%v, next counter %d, %d results kept\n", ss.ID, ss.Agent.Address, ss.Sealed, ss.NextCounter,
				len(s.view.state.sessions[ss.ID].results))
		}
	case "pending":
		for _, t := range s.view.PendingRuns(slices.Collect(maps.Keys(s.view.state.topics))...) {
			fmt.Fprintf(&out, "%s claimed=%v %d bytes, oldest %d:", t.Topic.Name, t.Claimed, t.Bytes, t.Oldest)
			for _, p := range t.Partitions {
				fmt.Fprintf(&out, " /%d from %d, %d runs", p.Index, p.CompactedEnd, len(p.Runs))
			}
			fmt.Fprintln(&out)
		}
	case "level":
		fmt.Fprintln(&out, s.view.Level())
	case "inline":
		if slot, ok := s.view.OldestInline(); ok {
			fmt.Fprintf(&out, "oldest in slot %d\n", slot)
		}
	case "producers":
		p := s.partition(d.CmdArgs[0].Vals[0])
		_, part := s.view.state.partition(p)
		fmt.Fprintf(&out, "%d producers\n", len(part.producers.slots))
	default:
		s.t.Fatalf("%s: show %q?", d.Pos, what)
	}
	if out.Len() == 0 {
		return "none\n"
	}
	return out.String()
}

func (s *script) showTopic(out *strings.Builder, name string) {
	t := s.view.state.topics[s.topic(name)]
	if t == nil {
		fmt.Fprintln(out, "gone")
		return
	}
	for i := range t.parts {
		p := &t.parts[i]
		fmt.Fprintf(out, "/%d [%d, %d) compacted to %d\n", i, p.logStart, p.highWatermark, p.compactedEnd)
		for _, f := range p.files {
			fmt.Fprintf(out, "  [%d, %d) file %s\n", f.base, f.end, f.file.Key)
		}
		for _, r := range s.view.state.expand(p.runs) {
			fmt.Fprintf(out, "  [%d, %d) %s bytes %d+%d", r.Base, r.End, r.Key, r.Pos, r.Len)
			if r.Inline || r.Sorted {
				fmt.Fprintf(out, " inline=%v sorted=%v of %d", r.Inline, r.Sorted, r.CommittedAt)
			}
			fmt.Fprintln(out)
		}
	}
}

func (s *script) locate(d *datadriven.TestData) string {
	p := s.partition(d.CmdArgs[0].Key)
	if d.HasArg("since") || d.HasArg("newest") {
		return s.locateTime(d, p)
	}
	var from, maxBytes int64
	d.ScanArgs(s.t, "from", &from)
	maxBytes = 1 << 30
	if d.HasArg("bytes") {
		d.ScanArgs(s.t, "bytes", &maxBytes)
	}
	loc, err := s.view.Locate(p, record.Offset(from), maxBytes)
	if err != nil {
		return err.Error() + "\n"
	}
	var out strings.Builder
	for _, sl := range loc.Slices {
		fmt.Fprintln(&out, sliceString(sl))
	}
	if out.Len() == 0 {
		return "nothing yet\n"
	}
	return out.String()
}

func (s *script) locateTime(d *datadriven.TestData, p record.Partition) string {
	var sl Slice
	var ok bool
	var err error
	if d.HasArg("since") {
		var ts int64
		d.ScanArgs(s.t, "since", &ts)
		sl, ok, err = s.view.LocateTime(p, ts)
	} else {
		sl, ok, err = s.view.MaxTimestamp(p, nil)
	}
	switch {
	case err != nil:
		return err.Error() + "\n"
	case !ok:
		return "none\n"
	}
	return sliceString(sl) + "\n"
}

func sliceString(sl Slice) string {
	if sl.File != nil {
		return fmt.Sprintf("[%d, %d) file %s row group %d+%d", sl.Base, sl.End, sl.File.Key, sl.Part.RowGroup, sl.Part.RowGroups)
	}
	return fmt.Sprintf("[%d, %d) %s bytes %d+%d", sl.Base, sl.End, sl.Run.Key, sl.Run.Pos, sl.Run.Len)
}
