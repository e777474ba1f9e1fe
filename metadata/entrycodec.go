package metadata

import (
	"fmt"

	"github.com/bargedata/barge/record"
)

// entryVersion is the first byte of an encoded entry. What a version means never changes.
const entryVersion = 1

// Tags of the commands. A tag is never used again for something else.
const (
	tagOpenSession         = 1
	tagSealSession         = 2
	tagCommitObject        = 3
	tagAllocateProducerIDs = 4
	tagCreateTopic         = 5
	tagDeleteTopic         = 6
	tagSetKeys             = 7
	tagClaimJob            = 8
	tagReleaseJob          = 9
	tagReplace             = 10
	tagProjected           = 11
	tagForgetObjects       = 12
	tagForgetTopic         = 13
)

// EncodeEntry renders e as the body of a log slot. Equal entries give equal bytes. Source: docs/format/log-entry.md.
func EncodeEntry(e Entry) []byte {
	w := wireWriter{}
	w.entryHeader(e.Seq, e.Term, e.Time, len(e.Commands))
	for _, c := range e.Commands {
		w.command(c)
	}
	return w.b
}

// DecodeEntry reads what EncodeEntry wrote; the entry shares nothing with b. ErrCorrupt tells every fault, an unknown
// version among them.
func DecodeEntry(b []byte) (Entry, error) {
	r := wireReader{b: b}
	if v := r.byte(); v != entryVersion {
		r.fail(fmt.Sprintf("entry version %d is not known", v))
	}
	if shard := r.uvarint(); shard != 0 {
		r.fail(fmt.Sprintf("entry of shard %d", shard))
	}
	e := Entry{Seq: r.uvarint(), Term: r.uvarint(), Time: r.varint()}
	for range r.count(2) {
		c := r.command()
		if r.err != nil {
			break
		}
		e.Commands = append(e.Commands, c)
	}
	if err := r.end(); err != nil {
		return Entry{}, fmt.Errorf("decode log entry of %d bytes: %w", len(b), err)
	}
	return e, nil
}

func (w *wireWriter) entryHeader(seq, term uint64, time int64, commands int) {
	w.byte(entryVersion)
	w.uvarint(uint64(shardOf(record.TopicID{}, 0)))
	w.uvarint(seq)
	w.uvarint(term)
	w.varint(time)
	w.count(commands)
}

func (w *wireWriter) command(c Command) {
	switch c := c.(type) {
	case CommitObject:
		w.byte(tagCommitObject)
		w.commitObject(&c)
	case OpenSession:
		w.byte(tagOpenSession)
		w.agent(&c.Agent)
	case SealSession:
		w.byte(tagSealSession)
		w.uvarint(uint64(c.Session))
	case AllocateProducerIDs:
		w.byte(tagAllocateProducerIDs)
		w.varint(int64(c.Count))
	case CreateTopic:
		w.byte(tagCreateTopic)
		w.topicID(c.ID)
		w.string(c.Name)
		w.varint(int64(c.Partitions))
		w.configs(c.Configs)
	case DeleteTopic:
		w.byte(tagDeleteTopic)
		w.topicID(c.ID)
	case SetKeys:
		w.byte(tagSetKeys)
		w.setKeys(&c)
	case ClaimJob:
		w.byte(tagClaimJob)
		w.uvarint(uint64(c.Session))
		w.topicIDs(c.Topics)
		w.strings(c.Outputs)
	case ReleaseJob:
		w.byte(tagReleaseJob)
		w.uvarint(uint64(c.Job))
	case Replace:
		w.byte(tagReplace)
		w.replace(&c)
	case Projected:
		w.byte(tagProjected)
		w.topicID(c.Topic)
		w.varint(c.Version)
		w.uvarint(c.UpTo)
	case ForgetObjects:
		w.byte(tagForgetObjects)
		w.strings(c.Keys)
	case ForgetTopic:
		w.byte(tagForgetTopic)
		w.topicID(c.ID)
	}
}

func (r *wireReader) command() Command {
	switch tag := r.byte(); tag {
	case tagCommitObject:
		return r.commitObject()
	case tagOpenSession:
		return OpenSession{Agent: r.agent()}
	case tagSealSession:
		return SealSession{Session: SessionID(r.uvarint())}
	case tagAllocateProducerIDs:
		return AllocateProducerIDs{Count: r.int32()}
	case tagCreateTopic:
		return CreateTopic{ID: r.topicID(), Name: r.string(), Partitions: r.int32(), Configs: r.configs()}
	case tagDeleteTopic:
		return DeleteTopic{ID: r.topicID()}
	case tagSetKeys:
		return r.setKeys()
	case tagClaimJob:
		return ClaimJob{Session: SessionID(r.uvarint()), Topics: r.topicIDs(), Outputs: r.strings()}
	case tagReleaseJob:
		return ReleaseJob{Job: JobID(r.uvarint())}
	case tagReplace:
		return r.replace()
	case tagProjected:
		return Projected{Topic: r.topicID(), Version: r.varint(), UpTo: r.uvarint()}
	case tagForgetObjects:
		return ForgetObjects{Keys: r.strings()}
	case tagForgetTopic:
		return ForgetTopic{ID: r.topicID()}
	default:
		r.fail(fmt.Sprintf("command tag %d is not known", tag))
		return nil
	}
}

// commitObject spends about ten bytes on a batch: what follows from the one before is left out or written as a difference.
func (w *wireWriter) commitObject(c *CommitObject) {
	w.uvarint(uint64(c.Session))
	w.uvarint(c.Counter)
	w.uvarint(c.Settled)
	w.string(c.Key)
	w.varint(int64(c.Size))
	w.count(len(c.Runs))
	var prev record.Partition
	var end record.Pos
	var time, producer int64
	for i := range c.Runs {
		r := &c.Runs[i]
		if i > 0 && r.Partition.Topic == prev.Topic {
			w.byte(0)
		} else {
			w.byte(1)
			w.topicID(r.Partition.Topic)
			prev.Index = 0
		}
		w.varint(int64(r.Partition.Index) - int64(prev.Index))
		prev = r.Partition
		w.varint(int64(r.Pos - end))
		end = r.Pos
		w.count(len(r.Batches))
		for j := range r.Batches {
			b := &r.Batches[j]
			w.varint(int64(b.Len))
			w.varint(int64(b.Records))
			w.varint(b.MaxTimestamp - time)
			w.varint(b.ProducerID - producer)
			if b.ProducerID >= 0 {
				w.varint(int64(b.ProducerEpoch))
				w.varint(int64(b.BaseSequence))
			}
			end += record.Pos(b.Len)
			time, producer = b.MaxTimestamp, b.ProducerID
		}
	}
}

func (r *wireReader) commitObject() Command {
	c := CommitObject{Session: SessionID(r.uvarint()), Counter: r.uvarint(), Settled: r.uvarint(), Key: r.string(), Size: record.Len(r.varint())}
	var prev record.Partition
	var end record.Pos
	var time, producer int64
	for range r.count(4) {
		if r.bool() {
			prev = record.Partition{Topic: r.topicID()}
		}
		index := int64(prev.Index) + r.varint()
		if int64(int32(index)) != index {
			r.fail("partition index over 32 bits")
		}
		prev.Index = int32(index)
		run := CommitRun{Partition: prev, Pos: end + record.Pos(r.varint())}
		end = run.Pos
		for range r.count(4) {
			b := CommitBatch{Len: record.Len(r.varint()), Records: r.int32(), MaxTimestamp: time + r.varint(), ProducerID: producer + r.varint()}
			if b.ProducerID >= 0 {
				b.ProducerEpoch, b.BaseSequence = r.int16(), r.int32()
			}
			end += record.Pos(b.Len)
			time, producer = b.MaxTimestamp, b.ProducerID
			if r.err != nil {
				return nil
			}
			run.Batches = append(run.Batches, b)
		}
		c.Runs = append(c.Runs, run)
	}
	return c
}

func (w *wireWriter) setKeys(c *SetKeys) {
	w.string(c.Space)
	w.count(len(c.Ops))
	for i := range c.Ops {
		op := &c.Ops[i]
		w.string(op.Key)
		w.bool(op.Check)
		w.uvarint(op.Expect)
		w.bool(op.Write)
		w.bool(op.Delete)
		w.optBytes(op.Value)
	}
}

func (r *wireReader) setKeys() Command {
	c := SetKeys{Space: r.string()}
	for range r.count(6) {
		op := KeyOp{Key: r.string(), Check: r.bool(), Expect: r.uvarint(), Write: r.bool(), Delete: r.bool(), Value: r.optBytes()}
		if r.err != nil {
			return nil
		}
		c.Ops = append(c.Ops, op)
	}
	return c
}

func (w *wireWriter) replace(c *Replace) {
	w.uvarint(uint64(c.Job))
	w.count(len(c.Files))
	for i := range c.Files {
		f := &c.Files[i]
		w.file(&File{Topic: f.Topic, Key: f.Key, Size: f.Size, Rows: f.Rows, Parts: f.Parts})
		w.optBytes(f.Add)
	}
}

func (r *wireReader) replace() Command {
	c := Replace{Job: JobID(r.uvarint())}
	for range r.count(minFileBytes + 1) {
		f := r.file()
		nf := NewFile{Topic: f.Topic, Key: f.Key, Size: f.Size, Rows: f.Rows, Parts: f.Parts, Add: r.optBytes()}
		if r.err != nil {
			return nil
		}
		c.Files = append(c.Files, nf)
	}
	return c
}
