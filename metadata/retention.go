package metadata

import (
	"math/bits"
	"slices"
	"strconv"
	"strings"

	"github.com/bargedata/barge/record"
)

// What Apply does with the configs of a topic is part of what the log says: the defaults below, and how a number is read, stay as they
// are for good.

// retention is how much of a topic's log its configs want to be kept; negative: all.
type retention struct{ ms, bytes int64 }

// retention follows Kafka: a topic that is only compacted is never cut.
func (t Topic) retention() retention {
	if !t.deletes() {
		return retention{-1, -1}
	}
	return retention{ms: t.limit(configRetentionMs, 7*24*60*60*1000), bytes: t.limit(configRetentionBytes, -1)}
}

// deletes reports whether the cleanup policy lets old records go; one that is not set does.
func (t Topic) deletes() bool {
	policy, ok := t.Configs[configCleanupPolicy]
	return !ok || slices.ContainsFunc(strings.Split(policy, ","), func(p string) bool { return strings.TrimSpace(p) == "delete" })
}

// MayDeleteRecords reports whether records may be deleted on request: not of a topic that is only compacted. Source: Apache Kafka,
// Partition.deleteRecordsOnLeader.
func (t Topic) MayDeleteRecords() bool {
	return t.deletes() || strings.TrimSpace(t.Configs[configCleanupPolicy]) == "" // KIP-1072: neither
}

// limit reads a config of which every negative number means that there is no limit.
func (t Topic) limit(name string, fallback int64) int64 {
	v, ok := t.Configs[name]
	if !ok {
		return fallback
	}
	n, err := strconv.ParseInt(strings.TrimSpace(v), 10, 64)
	if err != nil {
		return fallback
	}
	return max(n, -1)
}

// expired is the offset up to which the files of p may go at a time, the log start when none may. From the oldest on, and as long as
// none is met that stays: a file whose largest timestamp lies more than ms back, and one without which bytes are left all the
// same. So a file with a timestamp of the future keeps itself and what came after it, and one with timestamps of the past goes
// at once. A file without timestamps is never too old. Source: UnifiedLog.deleteOldSegments of Apache Kafka.
func (p *partition) expired(now int64, r retention) record.Offset {
	n := 0
	if r.ms >= 0 {
		for n < len(p.files) {
			ts := p.files[n].filePart().MaxTimestamp
			if ts < 0 || now-ts <= r.ms {
				break
			}
			n++
		}
	}
	if r.bytes >= 0 {
		over := p.bytes() - r.bytes
		for i := range p.files {
			if over -= p.files[i].share(); over < 0 {
				break
			}
			n = max(n, i+1)
		}
	}
	if n == 0 {
		return p.logStart
	}
	return p.files[n-1].end
}

// bytes is what the log of p takes: shares of its files, and its runs.
func (p *partition) bytes() int64 {
	n := int64(0)
	for i := range p.files {
		n += p.files[i].share()
	}
	for i := range p.runs {
		n += int64(p.runs[i].len)
	}
	return n
}

// share is what the part takes of its file, by rows, in whole numbers: Apply depends on it.
func (f *fileSpan) share() int64 {
	size, rows, all := uint64(max(f.file.Size, 0)), uint64(max(f.filePart().Rows, 0)), uint64(max(f.file.Rows, 0))
	if rows >= all {
		return int64(size)
	}
	hi, lo := bits.Mul64(size, rows)
	quotient, _ := bits.Div64(hi, lo, all)
	return int64(quotient)
}

// Expired returns the live topics of which ApplyRetention would move a log start at the time now (milliseconds), by id, at most
// limit of them, from those with an id above after on. The zero id begins. The lock is free between two topics.
func (v *View) Expired(now int64, after record.TopicID, limit int) []record.TopicID {
	var found []record.TopicID
	v.mu.RLock()
	ids := make([]record.TopicID, 0, len(v.state.topics))
	for id, t := range v.state.topics {
		if compareTopics(id, after) > 0 && len(t.files) > 0 {
			ids = append(ids, id)
		}
	}
	v.mu.RUnlock()
	slices.SortFunc(ids, compareTopics)
	for _, id := range ids {
		if len(found) == limit {
			break
		}
		if v.expired(id, now) {
			found = append(found, id)
		}
	}
	return found
}

func (v *View) expired(id record.TopicID, now int64) bool {
	v.mu.RLock()
	defer v.mu.RUnlock()
	t := v.state.topics[id]
	if t == nil {
		return false
	}
	limits := t.retention()
	for i := range t.parts {
		if p := &t.parts[i]; p.expired(now, limits) > p.logStart {
			return true
		}
	}
	return false
}
