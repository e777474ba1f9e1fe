/* The slot log of metadata/bucketlog: claims, appends, confirms, reads and truncation on a store that creates atomically.
 *
 * Two leaders acquire, append and confirm; a collector truncates; a reader reads; creates whose answer was lost land at any
 * time or never; the store's clock ticks. Every process may stand still between any two steps for as long as it likes,
 * which is what a paused machine does. README.md says which lines of Go each part mirrors, and what each variant removes.
 */

#ifndef SLOTS
#define SLOTS 5		/* slots of the log */
#endif
#ifndef ROUNDS
#define ROUNDS 1	/* how often the first leader may acquire; the second may once */
#endif
#ifndef DOUBTS
#define DOUBTS 0	/* how many answers to the first leader's creates may be lost */
#endif
#ifndef TICKS
#define TICKS 2		/* the store's clock goes from 1 to TICKS; 0 is "not known" */
#endif
#if TICKS == 1
#define LIFE 0		/* no time: every slot is old, every create is followed by a check */
#define FRESH -1
#else
#define LIFE 1		/* ticks a slot lives at least */
#ifdef STALE_CHECK
#define FRESH 1		/* a boundary check stays good for as long as a slot lives */
#else
#define FRESH 0		/* a boundary check stays good for less than a slot lives */
#endif
#endif

/* What a slot holds: term * 8 + id; 0 is "no such object". A leader has an id for each of its terms, and writes once to
 * a slot, so slot and id together are what the engine's random ids are. */
#define CONTENT(term, id) ((term) * 8 + (id))
#define TERM(content) ((content) / 8)

/* The bucket. */
byte slot[SLOTS];
byte boundary;		/* the largest boundary object */
byte snap;		/* the newest snapshot covers the slots below */
byte clock = 1;

/* Ghosts: what was created first in a slot and when, and how far the log is acknowledged to anybody. */
byte first[SLOTS];
byte born[SLOTS];
byte acked;

/* A create of the first leader on its way whose answer is lost already, one at a time. */
byte late_slot;
byte late;

/* The store's create-if-absent. */
inline create(s, content, ok) {
	if
	:: slot[s] == 0 ->
		slot[s] = content;
		ok = true;
		if
		:: first[s] == 0 -> first[s] = content; born[s] = clock
		:: else
		fi
	:: else -> ok = false
	fi
}

/* What must hold when a leader is told that its content is in slot s for good. */
inline acknowledged(s, content) {
	assert(first[s] == content);
	assert(s == 0 || first[s - 1] != 0);
	assert(s == 0 || TERM(first[s - 1]) <= TERM(content));
	assert(s + 1 >= SLOTS || first[s + 1] == 0 || TERM(first[s + 1]) >= TERM(content));
#ifdef CONFIRM
	if
	:: s + 1 > acked -> acked = s + 1
	:: else
	fi
#endif
}

proctype leader(byte me) {
	byte next, term, id, check, created, held, rounds, doubts;
	bool ok, claiming;

acquire:
	atomic { next = 0; term = 0; check = 0; created = 0; held = 0; ok = false; claiming = false };
	if
	:: rounds == (me == 0 -> ROUNDS : 1) -> goto done
	:: else -> rounds++
	fi;
	/* load the newest snapshot, probe forward from it */
	atomic { next = snap; term = (next == 0 -> 0 : TERM(first[next - 1])) };
	do
	:: d_step { next < SLOTS && slot[next] != 0 ->
		term = (TERM(slot[next]) > term -> TERM(slot[next]) : term); next++ }
	:: next == SLOTS -> goto done
	:: next < SLOTS && slot[next] == 0 -> break
	od;
	atomic { claiming = true; term++; id = 1 + me + 2 * (rounds - 1) };

write:
	if
	:: next == SLOTS -> goto done
	:: else
	fi;
#ifdef CHECK_BEFORE_CREATE
	held = boundary;
	if
	:: held > next -> goto acquire
	:: else -> held = 0
	fi;
#endif
	if
	:: d_step { create(next, CONTENT(term, id), ok); created = (ok -> clock : 0) }
	:: d_step { me == 0 && doubts < DOUBTS && late == 0 ->
		/* the answer is lost, and the create lands at any time from now on */
		doubts++; late_slot = next; late = CONTENT(term, id)
	   }
#ifdef SETTLE_BY_READING
	   d_step {
		if
		:: slot[next] == 0 && !claiming -> id = id + 4	/* "not written", so another entry takes the slot */
		:: else
		fi
	   }
#endif
	   goto write	/* the same call again */
	fi;
	if
	:: ok -> ok = false
	:: else ->
		/* taken: whose is it? */
		held = slot[next];
		if
		:: held == CONTENT(term, id) -> skip	/* an earlier try had worked */
		:: held == 0 -> goto acquire	/* truncated since: fenced */
		:: held != 0 && held != CONTENT(term, id) && claiming ->
			/* somebody was faster: take his slot into account and try the next */
			atomic { term = TERM(held) + 1; next++; held = 0 };
			goto write
		:: held != 0 && held != CONTENT(term, id) && !claiming ->
			assert(TERM(held) > term);	/* anything else can not be */
			goto acquire	/* fenced */
		fi;
		held = 0
	fi;
#ifndef CHECK_BEFORE_CREATE
#ifndef NO_CHECK
	if
#ifdef CLAIM_UNCHECKED
	:: claiming -> check = created
	:: !claiming && (check == 0 || created == 0 || created - check > FRESH) ->
#else
	:: claiming || check == 0 || created == 0 || created - check > FRESH ->
#endif
		if
		:: boundary > next -> goto acquire	/* fenced */
		:: d_step { boundary <= next -> check = (claiming || created != 0 -> created : check) }
		fi
	:: else
	fi;
#endif
#endif
	atomic { acknowledged(next, CONTENT(term, id)); next++; claiming = false; created = 0 };

	/* holding the term: publish a snapshot, confirm, append, or leave */
	do
	:: d_step { next > snap -> snap = next }
#ifdef CONFIRM
	:: d_step { next < SLOTS -> created = acked };	/* the question arrives */
		if
		:: slot[next] != 0 -> goto acquire	/* fenced */
		:: slot[next] == 0
		fi;
#ifndef CONFIRM_UNCHECKED
		if
		:: boundary > next -> goto acquire	/* fenced */
		:: boundary <= next
		fi;
#endif
		atomic {
			assert(created <= next);	/* all that was acknowledged before the question is below next */
			created = 0
		}
#endif
	:: next < SLOTS -> goto write
	:: goto acquire
	od;
done:
	atomic { next = 0; term = 0; check = 0; created = 0; held = 0; ok = false; claiming = false }
}

/* Truncation: only below a snapshot, only what is old, never the newest slot; raise, then delete. */
#ifdef TRUNCATE_ALL
#define DELETABLE(to) (to <= snap)
#else
#define DELETABLE(to) (to <= snap && to < SLOTS && first[to] != 0)
#endif

proctype collector() {
	byte to, s;
	do
	:: d_step { DELETABLE(boundary + 1) && clock >= born[boundary] + LIFE -> to = boundary + 1 };
		do
		:: d_step { DELETABLE(to + 1) && clock >= born[to] + LIFE -> to++ }
		:: break
		od;
#ifndef DELETE_FIRST
		boundary = to;
#endif
		do
		:: d_step { s < to -> slot[s] = 0; s++ }
		:: s == to -> break
		od;
#ifdef DELETE_FIRST
		boundary = to;
#endif
		atomic { to = 0; s = 0 }
	:: break
	od
}

/* A reader is never shown what is not in the log. */
proctype reader() {
	byte s, held;
	do
	:: s < SLOTS - 1 -> s++
	:: d_step { slot[s] != 0 -> held = slot[s] }; break
	:: goto done	/* nothing to read */
	od;
	if
#ifdef READ_UNCHECKED
	:: true -> assert(held == first[s])
#else
	:: d_step { s >= boundary -> assert(held == first[s]) }
	:: s < boundary
#endif
	fi;
done:
	atomic { s = 0; held = 0 }
}

/* The network delivers late, or never; the store's clock goes on. */
proctype weather() {
	bool ok;
end:
	do
	:: d_step { late != 0 -> create(late_slot, late, ok); late = 0; late_slot = 0; ok = false }
	:: d_step { clock < TICKS -> clock++ }
	od
}

init {
	atomic {
		run leader(0);
		run leader(1);
		run collector();
#ifdef READER
		run reader();
#endif
		run weather()
	}
}
