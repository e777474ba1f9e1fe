package sim

// CheckObjects holds what happened to objects against the rules: no key is written with other bytes (I3); what a durable entry
// refers to is there; nothing is deleted that the newest durable State or a live table refers to (I8), none before its grace is
// over, no output of a live job, no leftover that may still be committed; the log loses nothing below which no boundary lies or
// that a kept snapshot needs; and in the end nothing lies around that nobody refers to, but writes that landed late.
func CheckObjects(events []ObjectEvent) []Violation {
	var bad []Violation
	say := func(e *ObjectEvent, format string, args ...any) {
		bad = append(bad, broken("objects", "step %d: %s "+format, append([]any{e.Step, e.Key}, args...)...))
	}
	for i := range events {
		e := &events[i]
		switch e.Kind {
		case Rewritten:
			say(e, "was written with other bytes")
		case Referenced:
			if !e.Exists {
				say(e, "is referred to by a durable entry and is not there")
			}
		case LeftOver:
			if !e.Late {
				say(e, "is left over: nothing refers to it")
			}
		case Raised:
			if e.Below > e.Top {
				say(e, "is a new boundary, though only slots below %d may go", e.Top)
			}
		case Deleted:
			switch e.Role {
			case Live:
				say(e, "is deleted while State refers to it")
			case TableOnly:
				say(e, "is deleted while a live table refers to it")
			case Output:
				say(e, "is deleted while it belongs to a live job")
			case Released:
				if e.Age < e.Grace {
					say(e, "is deleted %d ms after its release, grace is %d ms", e.Age, e.Grace)
				}
			case Strange:
				if e.MayCommit {
					say(e, "is deleted while its session may still commit it")
				}
			case Slot:
				if e.Below > e.Top {
					say(e, "is deleted though only those below %d may go", e.Top)
				}
				if e.Age < e.Grace {
					say(e, "is deleted %d ms after it was written, it must live %d ms", e.Age, e.Grace)
				}
			case Dropped:
			}
		}
	}
	return bad
}
