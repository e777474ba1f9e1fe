package group

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/bargedata/barge/metadata"
)

// Config holds the bounds of groups. Zero values are not defaults: start from DefaultConfig.
type Config struct {
	// Owner names this agent in the claim of a shard, so that others can tell where the shard is. Usually the advertised
	// Kafka address.
	Owner string
	// Session is this agent's on the metadata log; a claim names it, so that others can tell whether its holder lives.
	Session metadata.SessionID
	// Cluster tells of the other agents; nil: there are none, and every shard is this agent's to claim.
	Cluster Cluster
	// Wait, when set, stands still until done is closed, and returns true, or until ctx ends: how a coroutine gives control away, where many
	// agents are driven from one goroutine. Nil: the calling goroutine waits.
	Wait func(ctx context.Context, done <-chan struct{}) bool
	// MinSession and MaxSession bound the session timeout a member may ask for; beyond them it gets
	// INVALID_SESSION_TIMEOUT.
	MinSession, MaxSession time.Duration
	// ConsumerSession is how long a member of the consumer protocol may be silent, ConsumerHeartbeat how often it is told to show up.
	// With that protocol members have no say in either.
	ConsumerSession, ConsumerHeartbeat time.Duration
	// InitialDelay is how long the first rebalance of an empty group waits for more members after each one that comes.
	// Kafka's default is 3 s. Without any delay the first of several consumers started together gets a generation of
	// its own, and the others wait for its next heartbeat, usually 3 s; a fraction of a second avoids both waits.
	InitialDelay time.Duration
	// MaxMembers bounds a group, MaxGroups the groups of this agent. A member too many gets GROUP_MAX_SIZE_REACHED, a
	// group too many POLICY_VIOLATION.
	MaxMembers, MaxGroups int
	// MaxMemberBytes bounds what one member sends to join (all its protocols), MaxGroupBytes the sum over a group, which
	// is what its leader is sent. Beyond: INVALID_REQUEST and GROUP_MAX_SIZE_REACHED.
	MaxMemberBytes, MaxGroupBytes int
	// MaxOffsetMetadataBytes bounds the text beside a committed offset; beyond: OFFSET_METADATA_TOO_LARGE.
	MaxOffsetMetadataBytes int
	// MaxSavedBytes bounds the durable record of a group. A larger group is saved without its members: after a restart
	// of the agent they rejoin, with a generation that still goes up.
	MaxSavedBytes int
	// OffsetRetention is how long offsets stay after their group is empty and they were last committed. 0 keeps them
	// for ever.
	OffsetRetention time.Duration
}

// DefaultConfig returns Kafka's bounds where it has some, and a short InitialDelay.
func DefaultConfig() Config {
	return Config{
		MinSession:             6 * time.Second,
		MaxSession:             30 * time.Minute,
		ConsumerSession:        45 * time.Second,
		ConsumerHeartbeat:      5 * time.Second,
		InitialDelay:           200 * time.Millisecond,
		MaxMembers:             5_000,
		MaxGroups:              100_000,
		MaxMemberBytes:         1 << 20,
		MaxGroupBytes:          64 << 20,
		MaxOffsetMetadataBytes: 4096,
		MaxSavedBytes:          1 << 20,
		OffsetRetention:        7 * 24 * time.Hour,
	}
}

// Validate tells every value that can not work.
func (c Config) Validate() error {
	var errs []error
	if c.MinSession <= 0 || c.MaxSession < c.MinSession {
		errs = append(errs, fmt.Errorf("session bounds %v..%v: want 0 < min <= max", c.MinSession, c.MaxSession))
	}
	if c.ConsumerHeartbeat <= 0 || c.ConsumerSession <= c.ConsumerHeartbeat {
		errs = append(errs, fmt.Errorf("consumer heartbeat %v, session %v: want 0 < heartbeat < session", c.ConsumerHeartbeat, c.ConsumerSession))
	}
	if c.InitialDelay < 0 {
		errs = append(errs, fmt.Errorf("initial delay %v: want 0 or more", c.InitialDelay))
	}
	if c.OffsetRetention < 0 {
		errs = append(errs, fmt.Errorf("offset retention %v: want 0 (for ever) or more", c.OffsetRetention))
	}
	for name, v := range map[string]int{
		"MaxMembers": c.MaxMembers, "MaxGroups": c.MaxGroups, "MaxMemberBytes": c.MaxMemberBytes,
		"MaxGroupBytes": c.MaxGroupBytes, "MaxSavedBytes": c.MaxSavedBytes,
	} {
		if v <= 0 {
			errs = append(errs, fmt.Errorf("%s %d: want more than 0", name, v))
		}
	}
	return errors.Join(errs...)
}
