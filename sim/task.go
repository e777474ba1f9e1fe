package sim

import (
	"context"
	"fmt"
	"iter"
	"runtime/debug"
	"time"
)

// task is a piece of real code that runs as a coroutine: it goes on only when the scheduler says so, and stands still at every
// store call, sleep or wait. It belongs to an agent and dies with it, wherever it stands.
type task struct {
	name    string
	agent   *agent
	next    func() (struct{}, bool)
	stop    func()
	yield   func(struct{}) bool
	until   int64       // asleep until then, world time in milliseconds
	waiting func() bool // nil, or true while there is nothing to go on with
	over    bool
}

// killed unwinds a task whose agent is gone.
type killed struct{}

// spawn makes a task; it takes its first step when the scheduler picks it.
func (w *world) spawn(a *agent, name string, run func(t *task)) {
	t := &task{name: name, agent: a}
	t.next, t.stop = iter.Pull(func(yield func(struct{}) bool) {
		defer func() {
			t.over = true
			if r := recover(); r != nil && r != (killed{}) {
				panic(fmt.Sprintf("task %s of %s: %v\n%s", name, a.label(), r, debug.Stack()))
			}
		}()
		t.yield = yield
		run(t)
	})
	a.tasks = append(a.tasks, t)
}

// pause gives control away; when the task is to die it never comes back.
func (t *task) pause() {
	if !t.yield(struct{}{}) {
		panic(killed{})
	}
}

// sleep stands still for d of world time.
func (w *world) sleep(_ context.Context, d time.Duration) error {
	t := w.running
	t.until = w.now + max(1, d.Milliseconds())
	t.pause()
	return nil
}

// await stands still until ready holds.
func (w *world) await(ready func() bool) {
	t := w.running
	for !ready() {
		t.waiting = func() bool { return !ready() }
		t.pause()
		t.waiting = nil
	}
}

// ready tells whether the scheduler may pick t now.
func (t *task) ready(now int64) bool {
	return !t.over && t.until <= now && (t.waiting == nil || !t.waiting())
}

// resume lets t take its next step.
func (w *world) resume(t *task) {
	before := w.running
	w.running = t
	t.next()
	w.running = before
}

// timer is something that happens at a time, outside of any task.
type timer struct {
	agent *agent
	at    int64
	name  string
	fire  func()
	off   bool // it has fired, or is not to fire any more
}
