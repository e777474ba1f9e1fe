package metadata

import (
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/bargedata/barge/record"
)

// randomLog makes entries that hit each other often: few topics, sessions, producers and keys, most commands sensible.
type randomLog struct {
	rng      *rand.Rand
	next     uint64
	time     int64
	counter  uint64
	topics   int
	state    *State // what the log has led to, to make sensible commands from
	sequence map[int64]int32

	deleted, forgotten, moved, inlined, held, altered, grown, cut, retained int // commands of these kinds that took effect
}

func newRandomLog(seed uint64) *randomLog {
	return &randomLog{rng: rand.New(rand.NewPCG(seed, 1)), state: NewState(), sequence: map[int64]int32{}}
}

func (l *randomLog) entry() Entry {
	l.time += l.rng.Int64N(3 * 60 * 60 * 1000)
	e := Entry{Seq: l.next, Term: 1 + l.next/50, Time: l.time}
	for range l.rng.IntN(6) {
		e.Commands = append(e.Commands, l.command())
	}
	l.next++
	EncodeEntry(e)
	for i, r := range l.state.Apply(e) {
		if errOf(r) != nil {
			continue
		}
		switch c := e.Commands[i].(type) {
		case DeleteTopic:
			l.deleted++
		case DeleteRecords:
			l.cut++
		case ApplyRetention:
			l.retained += len(r.(ApplyRetentionResult).Moved)
		case ForgetSession:
			l.forgotten++
		case AlterTopicConfigs:
			l.altered++
		case CreatePartitions:
			l.grown++
		case Replace:
			if c.Moved != nil {
				l.moved++
			}
		case CommitObject:
			if c.Inline != nil {
				l.inlined++
			}
			if len(c.Held) > 0 {
				l.held++
			}
		}
	}
	return e
}

func (l *randomLog) command() Command {
	r := l.rng
	switch r.IntN(22) {
	case 20:
		return l.deleteRecords()
	case 21:
		return ApplyRetention{Topics: []record.TopicID{l.topic(), l.topic()}}
	case 0:
		l.topics++
		c := CreateTopic{ID: topicNumber(int64(l.topics)), Name: fmt.Sprint("t", r.IntN(5)), Partitions: 1 + r.Int32N(4)}
		if r.IntN(2) == 0 {
			c.Configs = map[string]string{configTableOnDelete: onDeleteKeep, "b": "", "a": "x", configCleanupPolicy: "compact"}
		}
		switch r.IntN(4) { // entries are an hour and a half apart
		case 0:
			c.Configs = map[string]string{configRetentionMs: "90000000", configTableEnable: fmt.Sprint(r.IntN(2) == 0)}
		case 1:
			c.Configs = map[string]string{configRetentionBytes: "500"}
		}
		return c
	case 1:
		if r.IntN(3) > 0 {
			return l.changeTopic()
		}
		return DeleteTopic{ID: l.topic()}
	case 2:
		return OpenSession{Agent: AgentInfo{Address: "a:1", Zone: "z", Roles: []string{"produce"}, Level: uint32(min(r.IntN(12), MaxLevel))}}
	case 3:
		if r.IntN(4) > 0 {
			return AllocateProducerIDs{Count: 1 + r.Int32N(5)}
		}
		return SealSession{Session: l.session()}
	case 4, 5:
		c := SetKeys{Space: fmt.Sprint("s", r.IntN(3))}
		for range 1 + r.IntN(3) {
			op := KeyOp{Key: fmt.Sprint("k", r.IntN(20)), Write: r.IntN(4) > 0, Delete: r.IntN(4) == 0, Check: r.IntN(3) == 0}
			op.Expect = l.state.spaces[c.Space].version(op.Key)
			if r.IntN(5) == 0 {
				op.Expect = r.Uint64N(100)
			}
			if r.IntN(3) > 0 {
				op.Value = []byte(fmt.Sprint("v", r.IntN(9)))[:r.IntN(3)]
			}
			c.Ops = append(c.Ops, op)
		}
		return c
	case 6:
		c := ClaimJob{Session: l.session(), Outputs: []string{fmt.Sprint("f", r.IntN(1000)), fmt.Sprint("f", r.IntN(1000))}}
		for range r.IntN(3) {
			c.Topics = append(c.Topics, l.topic())
		}
		return c
	case 7:
		if r.IntN(4) > 0 {
			return l.replace()
		}
		return ReleaseJob{Job: JobID(r.Uint64N(uint64(l.state.lastJob) + 2))}
	case 8:
		return l.replace()
	case 9:
		if ids := sortedTopics(l.state.withAdds); len(ids) > 0 {
			t := ids[r.IntN(len(ids))]
			return Projected{Topic: t.ID, Version: t.version + r.Int64N(3), UpTo: t.adds[r.IntN(len(t.adds))].Seq}
		}
		return Projected{Topic: l.topic(), Version: 0, UpTo: r.Uint64N(l.next + 1)}
	case 10:
		if n := len(l.state.released); n > 0 && r.IntN(2) == 0 {
			return ForgetObjects{Keys: []string{l.state.released[r.IntN(n)].Key}}
		}
		if ids := sortedTopics(l.state.tombstones); len(ids) > 0 && r.IntN(3) == 0 {
			return ForgetTopic{ID: ids[r.IntN(len(ids))].ID}
		}
		return ForgetObjects{Keys: []string{"nothing"}}
	case 11:
		return l.levelOrForget()
	case 12, 13:
		return l.move()
	case 14, 15:
		return l.inline(l.commit())
	case 16:
		return l.commitHeld()
	default:
		return l.hold(l.commit())
	}
}

// changeTopic alters or grows a topic, now and then one that is gone or in a way that can not be.
func (l *randomLog) changeTopic() Command {
	id := l.topic()
	t := l.state.topics[id]
	if t == nil {
		return CreatePartitions{ID: id, Partitions: 3}
	}
	if l.rng.IntN(2) == 0 {
		return CreatePartitions{ID: id, Partitions: t.Partitions + l.rng.Int32N(3)}
	}
	c := AlterTopicConfigs{ID: id, To: map[string]string{configTableOnDelete: onDeleteKeep, "n": fmt.Sprint(l.rng.IntN(3))}}
	if len(t.Configs) > 0 {
		c.From = t.Configs
	}
	if l.rng.IntN(4) == 0 {
		c.From, c.To = c.To, c.From
	}
	return c
}

// deleteRecords moves starts of a topic to anywhere in its log, now and then out of it, and to ends of files and runs.
func (l *randomLog) deleteRecords() Command {
	r := l.rng
	t := l.state.topics[l.topic()]
	if t == nil {
		return DeleteRecords{Moves: []LogStartMove{{Partition: record.Partition{Topic: l.topic()}, To: 1}}}
	}
	c := DeleteRecords{}
	for range 1 + r.IntN(3) {
		m := LogStartMove{Partition: record.Partition{Topic: t.ID, Index: r.Int32N(t.Partitions + 1)}}
		if int(m.Partition.Index) < len(t.parts) {
			p := &t.parts[m.Partition.Index]
			m.To = p.logStart - 3 + record.Offset(r.Int64N(int64(p.highWatermark-p.logStart)/3+8))
			if n := len(p.files); n > 0 && r.IntN(3) == 0 {
				m.To = p.files[r.IntN(n)].end
			}
			if n := len(p.runs); n > 0 && r.IntN(6) == 0 {
				m.To = p.runs[r.IntN(n)].end
			}
			if r.IntN(30) == 0 {
				m.To = ToHighWatermark
			}
		}
		c.Moves = append(c.Moves, m)
	}
	return c
}

// hold keeps some batches of a commit back, now and then wrong ones.
func (l *randomLog) hold(c CommitObject) Command {
	if l.rng.IntN(3) > 0 {
		return c
	}
	for i := range c.Runs {
		for j := range c.Runs[i].Batches {
			if (c.Runs[i].Batches[j].ProducerID >= 0 || l.rng.IntN(50) == 0) && l.rng.IntN(2) == 0 {
				c.Held = append(c.Held, HeldBatch{int32(i), int32(j)})
			}
		}
	}
	return c
}

// commitHeld judges a run that is held back, if there is one, or repeats the commit it was of.
func (l *randomLog) commitHeld() Command {
	for _, id := range sortedKeys(l.state.sessions) {
		for _, r := range l.state.sessions[id].results {
			if r.held == nil || l.rng.IntN(3) == 0 {
				continue
			}
			if l.rng.IntN(4) == 0 {
				return CommitObject{Session: id, Counter: r.counter}
			}
			return CommitHeld{Session: id, Counter: r.counter, Batches: []HeldBatch{{r.held.runs[0].run, r.held.runs[0].batches[l.rng.IntN(len(r.held.runs[0].batches))].at}}}
		}
	}
	return CommitHeld{Session: l.session(), Counter: l.counter, Batches: []HeldBatch{{l.rng.Int32N(3), l.rng.Int32N(3)}}}
}

// levelOrForget lets agents of level 1 live for a while before it seals them.
func (l *randomLog) levelOrForget() Command {
	for _, id := range sortedKeys(l.state.sessions) {
		if ss := l.state.sessions[id]; l.next > 40 && !ss.sealed && ss.agent.understands() < MaxLevel {
			return SealSession{Session: id}
		}
	}
	if l.rng.IntN(2) == 0 {
		return RaiseLevel{Level: uint32(l.rng.IntN(MaxLevel + 1))}
	}
	return ForgetSession{Session: SessionID(l.rng.Uint64N(uint64(l.state.lastSession) + 2))}
}

// inline puts the object of a commit into the log, now and then wrongly.
func (l *randomLog) inline(c CommitObject) Command {
	c.Inline = make([]byte, 2000+l.rng.IntN(2000))
	c.Size = record.Len(len(c.Inline))
	if l.rng.IntN(20) == 0 {
		c.Size++
	}
	if l.rng.IntN(20) > 0 {
		c.Key = ""
	}
	return c
}

// move regroups the topics of some live job: of each partition a stretch of whole runs, mostly.
func (l *randomLog) move() Command {
	r := l.rng
	ids := sortedKeys(l.state.jobs)
	if len(ids) == 0 {
		return Replace{Job: 1, Moved: &MovedObject{}}
	}
	j := l.state.jobs[ids[r.IntN(len(ids))]]
	c := Replace{Job: j.id, Moved: &MovedObject{Key: j.outputs[r.IntN(len(j.outputs))], Size: 1 << 20}}
	if r.IntN(4) == 0 { // some leave for files in the same entry, of which the moved ones must keep clear
		c.Files = l.replace().Files
	}
	pos := record.Pos(64)
	topics := slices.SortedFunc(slices.Values(j.topics), compareTopics)
	for _, id := range topics {
		t := l.state.topics[id]
		if t == nil {
			continue
		}
		for p := range t.parts {
			runs := t.parts[p].runs
			for len(runs) > 0 && r.IntN(4) > 0 {
				from := r.IntN(len(runs))
				to := from + 1 + r.IntN(len(runs)-from)
				m := MovedRun{Partition: record.Partition{Topic: id, Index: int32(p)}, Base: runs[from].base, End: runs[to-1].end, Pos: pos}
				for _, old := range runs[from:to] {
					m.Len += old.len
					m.MaxTimestamp = max(m.MaxTimestamp, old.maxTime)
				}
				if r.IntN(40) == 0 {
					m.End += record.Offset(r.IntN(3)) - 1
				}
				pos += record.Pos(m.Len)
				c.Moved.Runs = append(c.Moved.Runs, m)
				runs = runs[to:]
			}
		}
	}
	return c
}

func (l *randomLog) session() SessionID {
	var open []SessionID
	for _, id := range sortedKeys(l.state.sessions) {
		if l.state.open(id) != nil {
			open = append(open, id)
		}
	}
	if len(open) > 0 && l.rng.IntN(3) > 0 {
		return open[l.rng.IntN(len(open))]
	}
	return SessionID(l.rng.Uint64N(uint64(l.state.lastSession) + 2))
}

func (l *randomLog) topic() record.TopicID {
	if ids := sortedTopics(l.state.topics); len(ids) > 0 && l.rng.IntN(5) > 0 {
		return ids[l.rng.IntN(len(ids))].ID
	}
	return topicNumber(l.rng.Int64N(int64(l.topics) + 2))
}

func (l *randomLog) commit() CommitObject {
	r := l.rng
	l.counter += r.Uint64N(3)
	c := CommitObject{Session: l.session(), Counter: l.counter, Key: fmt.Sprint("wal/", l.counter, "-", r.IntN(9)), Size: 1 << 20}
	c.Settled = l.counter - min(l.counter, r.Uint64N(6))
	pos := record.Pos(64)
	for i, t := range sortedTopics(l.state.topics) {
		if i > 3 {
			break
		}
		for p := range t.Partitions + 1 {
			if r.IntN(3) > 0 {
				continue
			}
			run := CommitRun{Partition: record.Partition{Topic: t.ID, Index: p}, Pos: pos}
			for range 1 + r.IntN(4) {
				b := CommitBatch{Len: 1 + record.Len(r.Int64N(100)), Records: 1 + r.Int32N(9), MaxTimestamp: l.time - r.Int64N(1000), ProducerID: -1}
				if r.IntN(2) == 0 {
					b.ProducerID = r.Int64N(6)
					b.ProducerEpoch = int16(r.IntN(20) / 19)
					b.BaseSequence = l.sequence[b.ProducerID]
					if r.IntN(8) > 0 {
						l.sequence[b.ProducerID] = lastSequence(b.BaseSequence, b.Records+1)
					}
				}
				pos += record.Pos(b.Len)
				run.Batches = append(run.Batches, b)
			}
			c.Runs = append(c.Runs, run)
		}
	}
	return c
}

// replace compacts all the topics of some live job up to the end of one of their runs.
func (l *randomLog) replace() Replace {
	ids := sortedKeys(l.state.jobs)
	if len(ids) == 0 {
		return Replace{Job: 1}
	}
	j := l.state.jobs[ids[l.rng.IntN(len(ids))]]
	c := Replace{Job: j.id}
	for i, id := range j.topics {
		t := l.state.topics[id]
		if t == nil || i >= len(j.outputs) {
			continue
		}
		f := NewFile{Topic: id, Key: j.outputs[i], Size: 10}
		if t.TableEnabled() && l.rng.IntN(3) > 0 {
			f.Add = []byte(`{"path":"x"}`)
		}
		for p := range t.parts {
			if runs := t.parts[p].runs; len(runs) > 0 {
				fp := FilePart{Partition: int32(p), Base: t.parts[p].compactedEnd, End: runs[l.rng.IntN(len(runs))].end, RowGroups: 1, MaxTimestamp: runs[0].maxTime}
				fp.Rows = int64(fp.End - fp.Base)
				f.Parts = append(f.Parts, fp)
			}
		}
		c.Files = append(c.Files, f)
	}
	return c
}
