package metadata

import "github.com/bargedata/barge/record"

// The pieces that entries and snapshots have in common. Lists without elements decode to nil.

const minFileBytes = 16 + 4

func (w *wireWriter) file(f *File) {
	w.topicID(f.Topic)
	w.string(f.Key)
	w.varint(int64(f.Size))
	w.varint(f.Rows)
	w.count(len(f.Parts))
	for i := range f.Parts {
		p := &f.Parts[i]
		w.varint(int64(p.Partition))
		w.varint(int64(p.Base))
		w.varint(int64(p.End))
		w.varint(int64(p.RowGroup))
		w.varint(int64(p.RowGroups))
		w.varint(p.Rows)
		w.varint(p.MaxTimestamp)
	}
}

func (r *wireReader) file() File {
	f := File{Topic: r.topicID(), Key: r.string(), Size: record.Len(r.varint()), Rows: r.varint()}
	for range r.count(7) {
		p := FilePart{
			Partition: r.int32(), Base: record.Offset(r.varint()), End: record.Offset(r.varint()),
			RowGroup: r.int32(), RowGroups: r.int32(), Rows: r.varint(), MaxTimestamp: r.varint(),
		}
		if r.err != nil {
			break
		}
		f.Parts = append(f.Parts, p)
	}
	return f
}

func (w *wireWriter) agent(a *AgentInfo) {
	w.string(a.Address)
	w.string(a.HTTP)
	w.string(a.Zone)
	w.string(a.Version)
	w.strings(a.Roles)
}

func (r *wireReader) agent() AgentInfo {
	return AgentInfo{Address: r.string(), HTTP: r.string(), Zone: r.string(), Version: r.string(), Roles: r.strings()}
}

func (w *wireWriter) strings(list []string) {
	w.count(len(list))
	for _, s := range list {
		w.string(s)
	}
}

func (r *wireReader) strings() (list []string) {
	for range r.count(1) {
		s := r.string()
		if r.err != nil {
			return nil
		}
		list = append(list, s)
	}
	return list
}

func (w *wireWriter) topicIDs(list []record.TopicID) {
	w.count(len(list))
	for _, id := range list {
		w.topicID(id)
	}
}

func (r *wireReader) topicIDs() (list []record.TopicID) {
	for range r.count(16) {
		list = append(list, r.topicID())
	}
	return list
}

// configs are written in the order of their names.
// topic is what readers see of one.
func (w *wireWriter) topic(t *Topic) {
	w.topicID(t.ID)
	w.string(t.Name)
	w.varint(int64(t.Partitions))
	w.configs(t.Configs)
	w.string(t.TableDir)
	w.varint(t.CreatedAt)
}

func (r *wireReader) topic() Topic {
	return Topic{ID: r.topicID(), Name: r.string(), Partitions: r.int32(), Configs: r.configs(), TableDir: r.string(), CreatedAt: r.varint()}
}

func (w *wireWriter) configs(m map[string]string) {
	w.count(len(m))
	for _, k := range sortedKeys(m) {
		w.string(k)
		w.string(m[k])
	}
}

func (r *wireReader) configs() map[string]string {
	n := r.count(2)
	if n == 0 {
		return nil
	}
	m := make(map[string]string, n)
	last := ""
	for i := range n {
		k, v := r.string(), r.string()
		if r.err != nil {
			return nil
		}
		if i > 0 && k <= last {
			r.fail("configs out of order")
			return nil
		}
		m[k], last = v, k
	}
	return m
}
