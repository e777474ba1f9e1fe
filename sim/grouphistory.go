package sim

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/bargedata/barge/group"
	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/record"
)

// GroupHistory is what coordinators wrote and answered.
type GroupHistory struct {
	Writes []GroupWrite // that took effect, in the order of the log
	Calls  []*GroupCall // that arrived at an agent, in the order in which they did
}

// GroupWrite is one command of a coordinator that took effect.
type GroupWrite struct {
	Agent      int
	Session    metadata.SessionID
	Step       int
	At         int64 // world time
	Shard      int
	Claims     bool                 // it takes, or renews, the claim of the shard
	Knows      []metadata.SessionID // who lived and was not about to leave, as the agent knew when it submitted the command
	Group      string               // that is saved, "" if none
	Generation int32
	Members    []string
	Commit     int // number of the commit, 0 if none
}

// GroupRequest is what a member asks.
type GroupRequest int8

// The requests.
const (
	GroupJoin GroupRequest = iota
	GroupSync
	GroupHeartbeat
	GroupCommit
	GroupFetch
	GroupLeave
)

func (r GroupRequest) String() string {
	return [...]string{"join", "sync", "heartbeat", "commit", "fetch", "leave"}[r]
}

// GroupCall is one request of a member and how it was answered.
type GroupCall struct {
	Kind       GroupRequest
	Agent      int
	Session    metadata.SessionID
	Group      string
	Static     bool // the group's members are
	Member     string
	Generation int32 // the member's; the one it was given, of a join
	Code       int16

	Began, Ended     int // steps: it arrived, and it was answered; 0: it was not
	BeganAt, EndedAt int64
	Before, After    int  // writes in the log then
	Foreign          bool // all the while the agent's own View named somebody else's claim

	Members    string           // of a join's answer to the leader: the others' ids, sorted
	Assignment string           // of a sync's
	Partition  record.Partition // of a commit
	Commit     int              // its number
	Offset     int64
	Fetched    []Fetched
}

// Fetched is where a group is in one partition, as a fetch was told.
type Fetched struct {
	Partition record.Partition
	Commit    int // that said so, 0 if none did
	Offset    int64
}

// holder is who holds a shard.
type holder struct {
	agent   int
	session metadata.SessionID
}

// setKeys notes a coordinator's command that took effect.
func (o *oracle) setKeys(c metadata.SetKeys, version uint64) {
	if c.Space != group.Space {
		return
	}
	w := o.w
	var write GroupWrite
	for _, op := range c.Ops {
		if strings.HasPrefix(op.Key, tagPrefix) {
			n, err := strconv.Atoi(string(op.Value))
			if err != nil || n >= len(w.groupWrites) {
				w.fault("rest", "a write to %s that nobody made", op.Key)
				return
			}
			write = w.groupWrites[n]
		}
	}
	commit := write.Commit
	write.Step, write.At, write.Commit = w.steps, w.now, 0
	for _, op := range c.Ops {
		kind, rest, _ := strings.Cut(op.Key, "/")
		shard, name, _ := strings.Cut(rest, "/")
		if kind != "c" && kind != "g" && kind != "o" {
			continue
		}
		if n, err := strconv.ParseInt(shard, 16, 32); err == nil {
			write.Shard = int(n)
		}
		switch {
		case !op.Write:
		case kind == "o":
			write.Commit = commit
		case kind == "c":
			write.Claims = true
			w.claims[version] = holder{write.Agent, write.Session}
			w.counts["group shards claimed"]++
		case kind == "g" && !op.Delete:
			s, err := group.RestoreState(name, op.Value, groupConfig(), time.UnixMilli(0))
			if err != nil {
				w.flaw("membership", "group %s can not be restored: %v", name, err)
				continue
			}
			write.Group, write.Generation, write.Members = name, s.Generation(), s.MemberIDs()
			w.counts["groups saved"]++
		}
	}
	w.note("group write", fmt.Sprintf("agent %d, shard %d, claims %t, %s %d, commit %d", write.Agent, write.Shard, write.Claims, write.Group, write.Generation, write.Commit), int64(version))
	w.hist.Groups.Writes = append(w.hist.Groups.Writes, write)
}
