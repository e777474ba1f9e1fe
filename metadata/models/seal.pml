/* One session's objects: uploads, commits, the seal, and the sweep of what was uploaded and never committed.
 *
 * An agent uploads OBJECTS objects, side by side, and commits them in counter order; it may give any of them up, and may
 * stop for good or stand still at any step. Its commits travel, and may pass each other, arrive twice, or never. Somebody seals the session at any
 * time. A sweeper takes a copy of the state, lists the prefix and deletes, with any delay in between. Uploads whose
 * answer was lost land at any time or never. README.md says which lines of Go this mirrors, and what each variant removes.
 */

#ifndef OBJECTS
#define OBJECTS 3
#endif
#define BIT(o) (1 << (o))

/* The bucket: the objects under the session's prefix, as bits. */
byte exists;
byte late;		/* uploads that were answered with a time-out and may still land */

/* The state, as of the newest log entry. */
byte referenced;	/* committed objects */
byte next_counter;	/* every object from here on may still be committed */
bool sealed;

bool ended;		/* the agent is gone for good */
bool forgotten;		/* the sealed session has left the state: nobody sweeps its prefix any more */

byte sent;		/* commits on their way to the sequencer, as bits; one that arrives may arrive again */

proctype agent() {
	byte o, uploaded, tried;
	do
	:: o < OBJECTS && !(uploaded & BIT(o)) ->
		if
		:: d_step { exists = exists | BIT(o); uploaded = uploaded | BIT(o) }
		:: d_step { !(tried & BIT(o)) -> tried = tried | BIT(o); late = late | BIT(o) }	/* no answer: upload again */
#ifdef COMMIT_BEFORE_PUT
		:: d_step { sent = sent | BIT(o); o++ }
#endif
		:: o++		/* give it up */
		fi
	:: o + 1 < OBJECTS && !(uploaded & BIT(o + 1)) ->
		d_step { exists = exists | BIT(o + 1); uploaded = uploaded | BIT(o + 1) }	/* uploads overlap */
	:: d_step { o < OBJECTS && (uploaded & BIT(o)) -> sent = sent | BIT(o); o++ }
	:: break
	od;
	atomic { ended = true; o = 0; uploaded = 0; tried = 0 }
}

/* Apply, entry by entry. */
proctype sequencer() {
	byte o;
end:
	do
	:: d_step { o + 1 < OBJECTS -> o++ }	/* commits may pass each other */
	:: d_step { sent & BIT(o) -> sent = sent & ~BIT(o); o = 0 }	/* no repetition, or it got lost */
	:: d_step {
		sent & BIT(o) ->
		if
#ifndef COMMIT_AFTER_SEAL
		:: sealed	/* refused */
#endif
#ifndef COUNTERS_IN_ANY_ORDER
#ifdef COMMIT_AFTER_SEAL
		:: o < next_counter	/* a repetition, or refused */
#else
		:: !sealed && o < next_counter	/* a repetition, or refused */
#endif
#endif
		:: else ->
			assert(exists & BIT(o));	/* what the log refers to is there */
			referenced = referenced | BIT(o);
			next_counter = (o + 1 > next_counter -> o + 1 : next_counter)
		fi;
		o = 0
	   }
	:: d_step { !sealed -> sealed = true }	/* anybody seals, at any time */
	od
}

proctype sweeper() {
	byte refs, counter, listed, o;
	bool seal, last;
	do
	:: atomic { refs = referenced; counter = next_counter; seal = sealed };
#ifdef STATE_BEFORE_SEAL
		seal = sealed;	/* the seal is news, the references are old */
#endif
#ifdef FORGET_EARLY
		last = seal;
#else
		last = seal && ended && late == 0 && sent == 0;	/* stands for: a day after the seal */
#endif
		listed = exists;
		do
		:: o < OBJECTS ->
			if
#ifdef SWEEP_BEFORE_SEAL
			:: (listed & BIT(o)) && !(refs & BIT(o)) ->
#else
			:: (listed & BIT(o)) && !(refs & BIT(o)) && (seal || o < counter) ->
#endif
				d_step { assert(!(referenced & BIT(o))); exists = exists & ~BIT(o) }
			:: else
			fi;
			o++
		:: else -> break
		od;
		if
		:: last -> forgotten = true; break
		:: else
		fi;
		atomic { refs = 0; counter = 0; listed = 0; o = 0; seal = false; last = false }
	od;
	atomic { refs = 0; counter = 0; listed = 0; o = 0; seal = false; last = false }
}

proctype weather() {
	byte o;
end:
	do
	:: d_step { late & BIT(0) -> late = late & ~BIT(0); exists = exists | BIT(0) }
	:: d_step { late & BIT(1) -> late = late & ~BIT(1); exists = exists | BIT(1) }
	:: d_step { late & BIT(2) -> late = late & ~BIT(2); exists = exists | BIT(2) }
	:: late != 0 -> late = 0	/* never */
	od
}

/* At every step: what the log refers to is there, and what is there after the last sweep is referred to. */
active proctype monitor() {
end:
	do
	:: atomic { (referenced & ~exists) != 0 -> assert(false) }
	:: atomic { forgotten && exists != referenced -> assert(false) }
	od
}

init {
	atomic { run agent(); run sequencer(); run sweeper(); run weather() }
}
