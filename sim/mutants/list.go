package main

// mutant is one way to break the product, and the checker of sim that must notice.
type mutant struct {
	Name    string
	Breaks  string // the promise that is not kept any more
	Edits   []edit
	Checker string // log, kafka, starts, table, objects, state, stale, unseen, sealed, zone, upkeep, coordinators, offsets, membership, stall or rest; several where any of them may be the first, separated by a space
	Seeds   int    // by which it must have been noticed
	Kind    string // of worlds: single (also when empty), cluster, stall
}

// edit replaces a text that stands in a file exactly once. Files are named from the module root.
type edit struct{ File, Old, New string }

// mutants is the list. It covers each rule that the log, the sequencer, the sessions, compaction, projection, deletion and groups rest on.
func mutants() []mutant {
	return []mutant{
		// The fenced log.
		{
			"boundary-check-dropped", "an append counts only after a boundary check begun after its create",
			[]edit{{"metadata/bucketlog/append.go", "if needsCheck(check, created) {", "if needsCheck(check, created) && t.next == 0 {"}},
			"log", 3000, "",
		},
		{
			"boundary-check-for-ever", "a boundary check is good for 30 s of the store's time",
			[]edit{{"metadata/bucketlog/append.go", "check.IsZero() || created.IsZero() || created.Sub(check).Abs() > boundaryFresh", "check.IsZero()"}},
			"log", 3000, "",
		},
		{
			"delete-before-boundary", "the boundary is raised before slots are deleted",
			[]edit{{
				"metadata/bucketlog/checkpoint.go", "	key := l.boundaryKey(to)\n",
				"	if err := l.deleteBelow(ctx, l.slotPrefix(), to); err != nil {\n		return err\n	}\n	key := l.boundaryKey(to)\n",
			}},
			"objects", 100, "",
		},
		{
			"slot-life-ignored", "a slot lives its time before it is truncated",
			[]edit{{"metadata/bucketlog/checkpoint.go", "t.time.Add(-l.cfg.SlotLife)", "t.time"}},
			"objects", 100, "",
		},
		{
			"truncates-what-snapshots-need", "every kept snapshot can be replayed from",
			[]edit{{"metadata/bucketlog/checkpoint.go", "return min(below, snapshots[0])", "return below"}},
			"objects state", 200, "",
		},
		{
			"one-snapshot-kept", "a damaged snapshot can be replaced by the one before",
			[]edit{{"metadata/bucketlog/checkpoint.go", "len(seqs)-l.cfg.KeepSnapshots", "len(seqs)-1"}},
			"objects rest", 100, "",
		},
		{
			"term-check-skipped", "a slot of a newer term is not ours",
			[]edit{{"metadata/bucketlog/append.go", "case held.term == term && held.id == id:", "case held.term >= term:"}},
			"log", 200, "",
		},
		{
			"own-412-read-as-fencing", "who meets his own write in a slot has written it",
			[]edit{{"metadata/bucketlog/append.go", "	case held.term == term && held.id == id:\n		return own\n", "	case held.term == term && held.id == id:\n		return overtaken\n"}},
			"log", 200, "",
		},
		{
			"unknown-read-as-fenced", "an append of unknown outcome is asked for again, not given up",
			[]edit{{
				"metadata/bucketlog/append.go", `return fmt.Errorf("create %s (%d bytes): %w: %w", key, len(frame), metadata.ErrUnknown, err)`,
				`return fmt.Errorf("create %s (%d bytes): %w: %w", key, len(frame), metadata.ErrFenced, err)`,
			}},
			"log", 200, "",
		},
		{
			"confirm-without-looking", "Confirm looks at the store",
			[]edit{{
				"metadata/bucketlog/append.go", "	held, _, err := l.getSlot(ctx, next)\n	switch {\n	case err == nil && held.term > term:",
				"	if next > 0 {\n		return nil\n	}\n	held, _, err := l.getSlot(ctx, next)\n	switch {\n	case err == nil && held.term > term:",
			}},
			"log kafka", 1000, "",
		},
		{
			"chain-not-checked", "a slot follows the one before it",
			[]edit{{"metadata/bucketlog/read.go", "if at.known && s.prev != at.prev {", "if at.known && s.prev != at.prev && s.seq == 0 {"}},
			"log", 50, "",
		},
		{
			"claim-without-a-higher-term", "a claim has a higher term than everything before it",
			[]edit{{"metadata/bucketlog/acquire.go", "term: max(at.term, l.currentTip().term) + 1,", "term: max(at.term, l.currentTip().term, 1),"}},
			"log rest", 100, "",
		},
		// The sequencer.
		{
			"acknowledged-before-settled", "nobody is answered before the append is known to be durable",
			[]edit{{"metadata/seqcore.go", "	switch {\n	case err == nil:\n	case c.gaveUp:", "	switch {\n	case err == nil || errors.Is(err, ErrUnknown):\n	case c.gaveUp:"}},
			"kafka log state rest", 300, "",
		},
		{
			"applied-before-durable", "nobody sees an entry before it is durable",
			[]edit{
				{"metadata/seqcore.go", "	return append(acts, AppendAction{f})\n", "	return append(acts, ApplyAction{f}, AppendAction{f})\n"},
				{"metadata/seqcore.go", "c.launch([]SequencerAction{ApplyAction{f}}, now)", "c.launch(nil, now)"},
			},
			"kafka state", 300, "",
		},
		{
			"repeated-under-another-id", "an append is repeated with the same id",
			[]edit{{"metadata/seqcore.go", "		c.waiting = false\n		return []SequencerAction{AppendAction{c.flight}}", "		c.waiting = false\n		c.flight.id = c.ids()\n		return []SequencerAction{AppendAction{c.flight}}"}},
			"rest log", 300, "",
		},
		{
			"question-answered-by-an-old-append", "what began before a question came does not answer it",
			[]edit{{"metadata/seqcore.go", "acts = c.tell(append(acts, AnswerAction{f}), f.below, nil)", "acts = c.tell(append(acts, AnswerAction{f}), c.asked, nil)"}},
			"kafka", 5000, "",
		},
		{
			"snapshot-of-another-entry", "a snapshot is of the entry it is named after",
			[]edit{{"metadata/view.go", "return frozen.next, frozen.Encode", "return frozen.next - 1, frozen.Encode"}},
			"state rest", 50, "",
		},
		// Sessions and idempotence.
		{
			"duplicates-appended", "a repeat within the window is answered, not appended",
			[]edit{{"metadata/session.go", "	if err != nil || duplicate {\n		return base, duplicate, err\n	}", "	if err != nil {\n		return base, duplicate, err\n	}\n	duplicate = false"}},
			"kafka", 100, "",
		},
		{
			"no-wrap", "2^31-1 is followed by 0",
			[]edit{{"metadata/producer.go", "	if last > math.MaxInt32 {\n		last -= math.MaxInt32 + 1\n	}", "	if last > math.MaxInt32+1 {\n		last -= math.MaxInt32 + 1\n	}"}},
			"kafka rest", 200, "",
		},
		{
			"window-of-one", "five batches may be repeated",
			[]edit{{"metadata/producer.go", "if p.n == producerWindow {", "if p.n == 1 {"}},
			"kafka", 300, "",
		},
		{
			"sequence-not-checked", "a gap in a producer's sequence is refused",
			[]edit{{"metadata/producer.go", "b.BaseSequence != lastSequence(newest, 2)", "b.BaseSequence == -2 && newest == 0"}},
			"kafka", 2000, "",
		},
		{
			"producers-not-in-snapshots", "a restart keeps the producers' windows",
			[]edit{{"metadata/staterestore.go", "		*at = p\n", "		*at = p\n		at.n = 1\n"}},
			"state kafka rest", 100, "",
		},
		{
			"repeated-commit-refused", "a repeated commit gets the first answer",
			[]edit{{"metadata/session.go", "		if !ok {\n			return CommitObjectResult{Err: ErrOutOfOrderCounter}", "		if !ok || c.Counter > 0 {\n			return CommitObjectResult{Err: ErrOutOfOrderCounter}"}},
			"kafka", 300, "",
		},
		{
			"settled-too-early", "results live until they are settled",
			[]edit{{"batcher/core.go", "commit.Settled = first.Counter", "commit.Settled = max(first.Counter, o.Counter)"}},
			"kafka", 2000, "",
		},
		// The batcher.
		{
			"commits-out-of-order", "objects commit in counter order",
			[]edit{{"batcher/core.go", "c.commits >= c.cfg.MaxCommits || o.state < stateUploaded || o.tries", "c.commits >= c.cfg.MaxCommits || o.tries"}},
			"kafka rest", 300, "",
		},
		{
			"committed-before-uploaded", "an object is durable before it is committed",
			[]edit{
				{"batcher/core.go", "	if err == nil {\n		if built.Body != nil {\n			c.stats", "	if built.Key != \"\" || err == nil {\n		if built.Body != nil {\n			c.stats"},
				{"batcher/core.go", "	case err != nil:\n		c.lose(now, o, fmt.Errorf(\"%w: %w\", ErrNotWritten, err))\n	case c.fatal", "	case err != nil && o.tries > 0:\n		c.lose(now, o, fmt.Errorf(\"%w: %w\", ErrNotWritten, err))\n	case c.fatal"},
			},
			"objects rest", 300, "",
		},
		{
			"not-written-though-unknown", "no definite error is told unless the commit is known not to have happened",
			[]edit{{"batcher/core.go", "	return ErrOutcomeUnknown\n}\n\n// backOff", "	return ErrNotWritten\n}\n\n// backOff"}},
			"kafka", 300, "",
		},
		{
			"gap-forgotten", "what follows a lost batch of an unknown producer is not written before it",
			[]edit{{"batcher/gaps.go", "	case ahead >= half:", "	case ahead >= half && b.first < 0:"}},
			"kafka", 2000, "",
		},
		// Compaction, projection, deletion.
		{
			"grace-ignored", "a released object lives its grace",
			[]edit{{"compactor/release.go", "now-r.ReleasedAt >= grace.Milliseconds() && !except[r.Key]", "now >= r.ReleasedAt && !except[r.Key]"}},
			"objects", 50, "",
		},
		{
			"forgotten-before-deleted", "the log forgets an object when it is gone",
			[]edit{{"compactor/release.go", "		gone, err := c.deleteAll(ctx, keys)\n", "		if _, err := c.log.Do(ctx, metadata.ForgetObjects{Keys: keys}); err != nil {\n			return err\n		}\n		gone, err := c.deleteAll(ctx, keys)\n"}},
			"objects rest", 1000, "",
		},
		{
			"outputs-released-by-replace", "the files that enter stay",
			[]edit{{"metadata/job.go", "	s.endJob(j, used)\n", "	s.endJob(j, nil)\n"}},
			"objects rest", 50, "",
		},
		{
			"released-before-replace", "inputs go only when what replaces them is in the log",
			[]edit{{"compactor/job.go", "	replace, err := c.write(ctx, &job, claim.Outputs)\n", "	replace, err := c.write(ctx, &job, claim.Outputs)\n	for _, in := range job.Objects {\n		_ = c.store.Delete(ctx, in.Key)\n	}\n"}},
			"objects", 50, "",
		},
		{
			"sealed-job-goes-on", "a sealed session's claims end",
			[]edit{{"metadata/session.go", "		if j := s.jobs[id]; j.session == c.Session {", "		if j := s.jobs[id]; j.session == c.Session && id == 0 {"}},
			"rest objects", 100, "",
		},
		{
			"file-ends-early", "a file's part covers all runs it was made of",
			[]edit{{"compactor/job.go", "End: runs[len(runs)-1].End,", "End: runs[0].End,"}},
			"kafka objects table", 100, "",
		},
		{
			"part-not-at-the-compacted-end", "rows enter at the partition's compacted end",
			[]edit{{"metadata/job.go", "		s.dropRuns(t, p, p.runIndex(p.compactedEnd))\n	}\n}", "		s.dropRuns(t, p, min(1, p.runIndex(p.compactedEnd)))\n	}\n}"}},
			"table kafka objects rest", 100, "",
		},
		{
			"projected-before-committed", "the log forgets a pending add when the table has it",
			[]edit{{"compactor/project.go", "		next, err := log.Append(ctx, head,", "		before := head\n		before.Version++\n		if err := c.projected(ctx, p, before, upTo); err != nil {\n			return delta.Head{}, err\n		}\n		next, err := log.Append(ctx, head,"}},
			"objects table", 300, "",
		},
		{
			"up-to-too-high", "progress names the newest entry that was folded in",
			[]edit{{"compactor/project.go", "		upTo = max(upTo, add.Seq)\n", "		upTo = max(upTo, add.Seq, pending.Adds[len(pending.Adds)-1].Seq)\n		if len(actions) > 0 && i > 0 {\n			continue\n		}\n"}},
			"table", 300, "",
		},
		{
			"projected-out-of-order", "adds are folded in the order of their entries",
			[]edit{{"compactor/project.go", "	for i, add := range pending.Adds {\n", "	for i := range pending.Adds {\n		add := pending.Adds[len(pending.Adds)-1]\n		if i > 0 {\n			break\n		}\n"}},
			"table rest", 300, "",
		},
		{
			"progress-too-high", "a txn is the exclusive end of what the version holds",
			[]edit{{"compactor/project.go", "Version: int64(ends[p])})", "Version: int64(ends[p]) + 1})"}},
			"table", 50, "",
		},
		{
			"sweeps-what-may-be-committed", "leftovers of an open session are swept below its next counter only",
			[]edit{{"compactor/sweep.go", "if !own || !ok || !k.Sorted && k.Counter >= s.NextCounter {", "if !own || !ok || k.Counter == 1<<63 {"}},
			"objects", 1000, "",
		},
		{
			"sweeps-what-is-known", "a key that State knows is not swept",
			[]edit{{"compactor/sweep.go", "		if !known(o.Key) {", "		if !known(o.Key) || s.Sealed {"}},
			"objects", 100, "",
		},
		{
			"runs-leak-objects", "an object without runs is released",
			[]edit{{"metadata/object.go", "	o.refs--\n	if o.refs == 0 {", "	o.refs--\n	if o.refs == 0 && o.key == \"\" {"}},
			"objects rest", 100, "",
		},
		// Regrouping.
		{
			"regrouped-before-it-is-there", "runs move into an object that is in the store",
			[]edit{{"compactor/move.go", "	if err := c.store.Put(ctx, key, body); err != nil {\n", "	if err := c.store.Put(ctx, key+\"x\", body); err != nil {\n"}},
			"objects", 50, "",
		},
		{
			"runs-regrouped-out-of-order", "moved batches keep their order",
			[]edit{{"compactor/move.go", "all = append(all, batches...)", "all = append(batches, all...)"}},
			"kafka objects table", 100, "",
		},
		{
			"regrouped-with-a-stretch-misplaced", "each moved stretch lies where the log says",
			[]edit{{"compactor/move.go", "			pos += record.Pos(m.Len)\n", ""}},
			"kafka objects table", 1000, "",
		},
		{
			"regrouped-span-forgets-a-run", "all runs of a span move, so that it can go",
			[]edit{{"metadata/moved.go", "	p.runs = append(runs, old[done:]...)\n", "	p.runs = runs\n"}},
			"kafka table state rest objects", 100, "",
		},
		{
			"moved-run-forgets-its-object", "an object whose runs have moved is released",
			[]edit{{"metadata/moved.go", "			s.uncountRun(t, &old[k])\n", "			if old[k].object == object {\n				s.uncountRun(t, &old[k])\n			}\n"}},
			"objects rest", 100, "",
		},
		{
			"held-batch-at-the-wrong-place", "a batch that waited lies where it lay",
			[]edit{{"metadata/held.go", "		for i := range r.Batches[:h.Batch] {\n", "		for i := range r.Batches[:h.Batch/2] {\n"}},
			"kafka", 2000, "",
		},
		{
			"held-object-released", "an object is kept while a batch of it waits",
			[]edit{{"metadata/held.go", "			held.runs = append(held.runs, heldRun{run: h.Run, partition: r.Partition})\n			s.objects[object].refs++\n", "			held.runs = append(held.runs, heldRun{run: h.Run, partition: r.Partition})\n"}},
			"kafka objects rest", 1000, "",
		},
		{
			"waits-for-ever", "a batch waits half a second at most",
			[]edit{{"metadata/seqpark.go", "	parkTicks = 4 ", "	parkTicks = 1 << 40 "}},
			"objects rest kafka", 2000, "",
		},
		// Objects inside of entries.
		{
			"inline-position-off", "the bytes of an inline object begin where State says",
			[]edit{{"metadata/session.go", "c.InlinePos, true", "c.InlinePos + 1, true"}},
			"kafka", 50, "",
		},
		{
			"inline-bytes-truncated", "a slot with bytes that are still read is not truncated",
			[]edit{{"metadata/seqcore.go", "if slot, ok := c.view.OldestInline(); ok {", "if slot, ok := c.view.OldestInline(); ok && slot == 0 {"}},
			"objects", 100, "",
		},
		// Reading.
		{
			"locate-skips-a-run", "a read begins with the run that holds its offset",
			[]edit{{"metadata/locate.go", "	first = part.runIndex(from)\n", "	first = min(part.runIndex(from)+1, len(part.runs))\n"}},
			"kafka", 50, "",
		},
		{
			"file-read-from-the-next-row", "a read from a file begins with its offset",
			[]edit{{"fetch/parquet.go", "newRebuild(max(from, s.Base), s.End,", "newRebuild(max(from, s.Base)+1, s.End,"}},
			"kafka rest", 100, "",
		},
		{
			"tail-of-another-run", "a run's bytes begin at its position",
			[]edit{{"metadata/session.go", "		pos += record.Pos(b.Len)\n", "		if err == nil {\n			pos += record.Pos(b.Len)\n		}\n"}},
			"kafka objects", 1000, "",
		},
		// Agents of one cluster.
		{
			"doubtful-commit-refused-by-a-seal", "a commit that may have taken effect is not told refused because its session was sealed since",
			[]edit{{"metadata/replica/sending.go", "ok && cmd.doubt && errors.Is(", "ok && cmd.doubt && cmd.id == 0 && errors.Is("}},
			"kafka", 1000, "cluster",
		},
		{
			"handed-on-out-of-order", "commands reach the sequencer in the order in which they came",
			[]edit{{"metadata/replica/sending.go", "		cmd := s.pending[s.unsent]\n", "		cmd := s.pending[len(s.pending)-1-s.unsent]\n		if cmd == nil {\n			continue\n		}\n"}},
			"kafka rest", 200, "cluster",
		},
		{
			"confirmed-without-its-own-view", "a question is answered when the own View is where the log ended",
			[]edit{{"metadata/replica/asking.go", "q.known, q.next = true, ev.Next", "q.known, q.next = true, min(ev.Next, 1)"}},
			"stale kafka", 1000, "cluster",
		},
		{
			"confirmed-by-a-read-from-before", "what began before a question came does not answer it, also where the log itself is read",
			[]edit{{"metadata/replica/silence.go", "c.answerBelow(r.asked)", "c.answerBelow(c.asking.next)"}},
			"stale kafka", 3000, "cluster",
		},
		{
			"object-of-a-follower-misplaced", "an entry as followers get it says where its objects lie",
			[]edit{{"metadata/followers.go", "record.Pos(r.natural()), record.Len(r.natural())", "record.Pos(r.natural()) + 1, record.Len(r.natural())"}},
			"state kafka rest", 50, "cluster",
		},
		{
			"followers-forget-what-was-held-back", "an entry as followers get it gives the very state that the one in the log gives",
			[]edit{{"metadata/followers.go", "			o.placed, o.inlineLen, o.Inline = true, record.Len(len(o.Inline)), nil\n", "			o.placed, o.inlineLen, o.Inline, o.Held = true, record.Len(len(o.Inline)), nil, nil\n"}},
			"state kafka rest", 500, "cluster",
		},
		{
			"does-not-notice-that-it-was-sealed", "an agent whose session was sealed opens another one",
			[]edit{{"metadata/replica/core.go", "s != 0 && s != c.sealed &&", "s != 0 && s == c.sealed &&"}},
			"rest", 200, "cluster",
		},
		{
			"take-over-without-what-is-lacking", "a term begins with a View that holds everything before it",
			[]edit{{"metadata/takeover.go", "return t.replay(ctx, applied, acquired.Next, func(e Entry) error {\n			t.view.Apply(e)", "return t.replay(ctx, applied, acquired.Next, func(e Entry) error {\n			if len(e.Commands) > 0 {\n				e.Commands = e.Commands[1:]\n			}\n			t.view.Apply(e)"}},
			"state kafka log rest unseen", 500, "cluster",
		},
		{
			"claim-after-whatever-term", "a claim follows the term that it was made for, and no newer one of another agent",
			[]edit{{"metadata/replica/core.go", "Unless: max(c.leader.term, c.view.Term()) + 1", "Unless: 0"}},
			"stall", 40, "stall",
		},
		{
			"deposed-sequencer-confirms", "a sequencer that was deposed answers no question",
			[]edit{{
				"metadata/bucketlog/append.go", "	held, _, err := l.getSlot(ctx, next)\n	switch {\n	case err == nil && held.term > term:\n",
				"	held, _, err := l.getSlot(ctx, next)\n	switch {\n	case err == nil && held.term > term && next > 0:\n		return nil\n	case err == nil && held.term > term:\n",
			}},
			"log", 100, "cluster",
		},
		{
			"acknowledged-before-its-own-view", "a follower answers once its own View shows what it answers for",
			[]edit{{"metadata/replica/sending.go", "		if cmd.seq < applied {\n", "		if cmd.seq < applied+1000 {\n"}},
			"unseen", 50, "cluster",
		},
		{
			"seals-too-early", "the session of a silent agent is sealed after 20 s",
			[]edit{{"metadata/replica/members.go", "c.now-at < ms(c.cfg.SealAfter) {", "c.now-at < ms(c.cfg.MemberSilence) {"}},
			"sealed", 50, "cluster",
		},
		{
			"kept-commits-resent-out-of-order", "commits whose outcome is not known go to the next sequencer in their order",
			[]edit{{
				"metadata/replica/sending.go", "		cmd.outlet, cmd.doubt = 0, true\n",
				"		cmd.outlet, cmd.doubt = 0, true\n		if i := slices.Index(c.sending.pending, cmd); i > 0 {\n			c.sending.pending[i-1], c.sending.pending[i] = cmd, c.sending.pending[i-1]\n		}\n",
			}},
			"kafka rest", 500, "cluster",
		},
		{
			"hearsay-does-not-age", "what others say of a sequencer's signs of life is as old as they say",
			[]edit{{"metadata/replica/following.go", "		at := call.began - int64(resp.GetHeardMs())\n", "		at := call.began\n"}},
			"stall rest", 40, "stall",
		},
		// Background work shared by agents.
		{
			"shares-by-another-rule", "agents that know the same give each piece of work to one of them",
			[]edit{{"compactor/share.go", "routing.Pick(\"upkeep/\"+work, able)", "routing.Pick(\"upkeep/\"+work+strconv.Itoa(int(self%2)), able)"}},
			"upkeep", 50, "cluster",
		},
		{
			"never-takes-over-from-the-dead", "work is shared by those who live now",
			[]edit{{"compactor/share.go", "	return func() (mine func(work string) bool, agents int) {\n		able := members().Live().WithRole(routing.RoleCompact)\n", "	var able routing.Members\n	return func() (mine func(work string) bool, agents int) {\n		if len(able) == 0 {\n			able = members().Live().WithRole(routing.RoleCompact)\n		}\n"}},
			"upkeep", 200, "cluster",
		},
		{
			"objects-of-others-hold-nothing-up", "a topic of another agent has the objects regrouped in which it lies",
			[]edit{{"compactor/compactor.go", "somebody := len(due) > 0 || !c.share.alone() && anyDue(", "somebody := len(due) > 0 || c.share.alone() && anyDue("}},
			"upkeep", 200, "cluster",
		},
		{
			"released-objects-wait-for-one-who-is-alone", "of several agents one deletes what was released",
			[]edit{{"compactor/compactor.go", "	if c.share.mine(sweepWork) {", "	if c.share.alone() {"}},
			"upkeep", 200, "cluster",
		},
		{
			"sweep-waits-for-one-who-is-alone", "of several agents one sweeps what sealed sessions left",
			[]edit{{"compactor/sweep.go", "		if !c.share.mine(sweepWork) {", "		if !c.share.alone() {"}},
			"upkeep", 500, "cluster",
		},
		{
			"sweeps-living-sessions-of-others", "an open session is swept by its own agent",
			[]edit{
				{"compactor/sweep.go", "s.ID == own && s.NextCounter > before.counter && now >= since", "now >= since"},
				{"compactor/sweep.go", "if !own || !ok || !k.Sorted && k.Counter >= s.NextCounter {", "if !ok || !k.Sorted && k.Counter > s.NextCounter {"},
			},
			"objects", 1000, "cluster",
		},
		{
			"half-a-grace", "a released object lives its grace, on the clock of whoever deletes it",
			[]edit{{"compactor/release.go", "now-r.ReleasedAt >= grace.Milliseconds() && !except[r.Key]", "now-r.ReleasedAt >= grace.Milliseconds()/2 && !except[r.Key]"}},
			"objects", 100, "cluster",
		},
		// Objects that the agents of a zone keep for one another.
		{
			"bytes-of-others-not-verified", "what another agent answers is checked as what the store answers is",
			[]edit{{"fetch/zone.go", "	e := newExtent(part, data)\n", "	e := newExtent(part, data)\n	e.checked = true\n"}},
			"kafka rest", 300, "cluster",
		},
		{
			"keeper-answers-from-another-place", "a keeper gives the bytes that were asked for",
			[]edit{{"fetch/zone.go", "	body := e.from(w.pos)[:w.len:w.len]\n", "	body := e.from(e.key.pos)[:w.len:w.len]\n"}},
			"zone", 100, "cluster",
		},
		{
			"keeper-keeps-nothing", "what was read for another agent is kept",
			[]edit{{"fetch/objects.go", "	o.keep(e, w.lagging)\n	return e, nil\n", "	if !w.peer {\n		o.keep(e, w.lagging)\n	}\n	return e, nil\n"}},
			"zone", 100, "cluster",
		},
		{
			"lagging-readers-ask-the-store", "also who lags asks the keeper",
			[]edit{{"fetch/zone.go", "if o.cfg.Zone == nil || w.len > maxPeerBytes {", "if o.cfg.Zone == nil || w.lagging {"}},
			"zone", 100, "cluster",
		},
		{
			"gone-and-not-looked-up", "who finds an object gone looks for its records where the log says they are now",
			[]edit{{"fetch/fetch.go", "	if r.cfg.CatchUp != nil {", "	if r.cfg.CatchUp != nil && limit < 0 {"}},
			"unseen", 2000, "cluster",
		},
		// Log starts.
		{
			"retention-half", "retention takes what is older than it may be, by the entry's time",
			[]edit{{"metadata/retention.go", "now-ts <= r.ms", "now-ts <= r.ms/2"}},
			"starts", 300, "",
		},
		{
			"start-goes-back", "a log start never goes back",
			[]edit{{"metadata/logstart.go", "case to > p.logStart:", "case to != p.logStart:"}},
			"starts kafka objects", 300, "",
		},
		{
			"deleted-rows-in-files", "what was deleted before it was compacted enters no file",
			[]edit{{"compactor/job.go", "r.Offset >= from {", "r.Offset >= from || true {"}},
			"table", 300, "",
		},
		{
			"files-of-tables-released", "a file that leaves the log stays in its table",
			[]edit{{"metadata/logstart.go", "case t.TableEnabled():", "case t.TableEnabled() && t.KeepsTable():"}},
			"objects table", 300, "",
		},
		{
			"configs-lost", "a change of a topic's configs is made of what is set, or not at all",
			[]edit{{"metadata/topicstate.go", "case !maps.Equal(t.Configs, c.From):", "case false && !maps.Equal(t.Configs, c.From):"}},
			"changes", 300, "",
		},
		// Groups of consumers.
		{
			"group-written-without-its-claim", "a write to a group names the claim of its shard",
			[]edit{{"group/coordinator.go", "{Key: sh.claimKey(), Check: true, Expect: claim}}, ops...)", "{Key: sh.claimKey(), Expect: claim}}, ops...)"}},
			"coordinators offsets membership", 300, "cluster",
		},
		{
			"group-claimed-from-who-lives", "who holds a group keeps it while it lives and does not leave",
			[]edit{{"group/holder.go", "able.BySession(uint64(holder)); ok && holder != 0 {", "able.BySession(uint64(holder)); ok && holder == 0 {"}},
			"coordinators", 300, "cluster",
		},
		{
			"group-claimed-by-whom-nobody-named", "only the agent that FindCoordinator names claims a group",
			[]edit{{"group/holder.go", "	case m.Session != uint64(c.cfg.Session):\n", "	case m.Session == 0:\n"}},
			"coordinators", 300, "cluster",
		},
		{
			"group-kept-after-it-was-claimed", "who hears that a group was claimed by another one does not answer for it",
			[]edit{{"group/shard.go", "return ok && kv.Version == sh.claim\n", "return ok && kv.Version > 0\n"}},
			"coordinators", 1000, "cluster",
		},
		{
			"generation-handed-out-twice", "every rebalance ends in a generation of its own",
			[]edit{{"group/rebalance.go", "	s.generation++\n", "	s.generation += 1 - int32(len(s.members)/2)\n"}},
			"coordinators", 300, "cluster",
		},
		{
			"assignment-before-it-is-saved", "a group is saved before any member learns its assignment",
			[]edit{{"group/sync.go", "		s.assignedRev = s.save(out)\n", "		s.assignedRev = s.save(out)\n		out.reply(s.syncReply(m, m.syncing))\n		m.syncing = 0\n"}},
			"membership", 300, "cluster",
		},
		{
			"group-forgotten-at-a-hand-over", "who takes a group over finds its members in their generation",
			[]edit{{"group/shard.go", "g := c.addCell(sh, name, state)\n", "g := c.addCell(sh, name, NewState(name, c.cfg, c.now()))\n		_ = state\n"}},
			"membership coordinators", 300, "cluster",
		},
		{
			"rebalance-at-a-hand-over", "nobody has to join again because a coordinator died",
			[]edit{{"group/snapshot.go", "	if len(s.members) > 0 {\n		s.phase = Stable\n", "	if len(s.members) > 0 {\n		s.phase = PreparingRebalance\n"}},
			"membership", 300, "cluster",
		},
		{
			"commit-acknowledged-without-an-outcome", "an offset is acknowledged when it is durable",
			[]edit{{"group/offsets.go", "	g.commits--\n", "	g.commits--\n	if code == codeCoordinatorUnavailable {\n		code = codeNone\n	}\n"}},
			"offsets", 300, "cluster",
		},
		{
			"commit-of-an-old-generation", "members of the generation commit, and nobody else",
			[]edit{{"group/state.go", "	if generation != s.generation {\n		return codeIllegalGeneration\n", "	if generation > s.generation {\n		return codeIllegalGeneration\n"}},
			"offsets", 1000, "cluster",
		},
		{
			"offsets-read-from-an-old-view", "offsets are told after the log was confirmed to hold no others",
			[]edit{{"group/offsets.go", "	err := c.doer.Confirm(ctx)\n", "	var err error\n"}},
			"offsets", 3000, "cluster",
		},
	}
}
