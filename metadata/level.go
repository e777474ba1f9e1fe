package metadata

import "fmt"

// MaxLevel is the highest level this barge understands.
//
//   - 1: log entries of version 1.
//   - 2: RaiseLevel, ForgetSession, objects inside of entries (CommitObject.Inline), runs that move (Replace.Moved), and batches
//     that are held back (CommitObject.Held, CommitHeld).
//   - 3: many agents at work: earlier ones seal every session but their own when they start, and so must not start. Runs
//     move without a claim of their topic (Replace.Moved).
//   - 4: topics that change: AlterTopicConfigs, CreatePartitions, and log starts that move: DeleteRecords, ApplyRetention.
//
// A log begins at level 1. Its level is raised by a RaiseLevel once all open sessions understand more, and never goes down.
const MaxLevel = 4

// LevelMoved is the level of a log that was moved elsewhere (`barge metadata copy`): its last entry raises it, so that no agent, older
// ones included, goes on with it.
const LevelMoved = 1 << 30

// understands is the highest level the agent told; one that told none is older than levels.
func (a *AgentInfo) understands() uint32 { return max(a.Level, 1) }

func (s *State) raiseLevel(c RaiseLevel) Result {
	for _, ss := range s.sessions { // any order: only whether one is there counts
		if !ss.sealed && ss.agent.understands() < c.Level {
			return RaiseLevelResult{Err: ErrInvalidCommand}
		}
	}
	s.level = max(s.level, c.Level)
	return RaiseLevelResult{}
}

// Level is what the log may use: commands that need more are refused with ErrLevel.
func (v *View) Level() uint32 {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.state.level
}

// CheckLevel returns ErrNewer when a log of that level is beyond this barge: it must apply nothing more and stop. With ErrMoved it is not
// a later barge that goes on, but a log elsewhere.
func CheckLevel(level uint32) error {
	if level == LevelMoved {
		return fmt.Errorf("%w: %w; if the copy was interrupted, run it again", ErrNewer, ErrMoved)
	}
	if level > MaxLevel {
		return newer("the metadata log is at level", uint64(level), MaxLevel)
	}
	return nil
}

func newer(what string, got, known uint64) error {
	return fmt.Errorf("%w: %s %d, this one understands up to %d; upgrade barge", ErrNewer, what, got, known)
}
