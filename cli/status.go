package cli

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"
)

// statusLine shows how far something is: on a terminal one line that is rewritten in place, elsewhere a line now and then. Text
// written through it appears above the line. It is safe for concurrent use.
type statusLine struct {
	mu       sync.Mutex
	out      io.Writer
	terminal bool
	shown    string
	every    time.Duration // between lines that are not rewritten
	last     time.Time
}

func newStatusLine(out io.Writer, every time.Duration) *statusLine {
	return &statusLine{out: out, terminal: isTerminal(out), every: every}
}

// show replaces the line.
func (l *statusLine) show(now time.Time, text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.terminal {
		if now.Sub(l.last) >= l.every {
			l.last = now
			tell(l.out, "%s\n", text)
		}
		return
	}
	l.shown = clip(text, l.width())
	tell(l.out, "%s", "\r\x1b[K"+l.shown)
}

// Write puts p, which ends with a newline, above the line.
func (l *statusLine) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.shown == "" {
		return l.out.Write(p)
	}
	if _, err := fmt.Fprint(l.out, "\r\x1b[K"); err != nil {
		return 0, err
	}
	n, err := l.out.Write(p)
	tell(l.out, "%s", l.shown)
	return n, err
}

// end leaves the line as it is and goes to the next.
func (l *statusLine) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.shown != "" {
		tell(l.out, "\n")
		l.shown = ""
	}
}

// width is how wide the terminal is now: a line that wraps could not be rewritten.
func (l *statusLine) width() int {
	if f, ok := l.out.(*os.File); ok {
		if w, _, err := term.GetSize(int(f.Fd())); err == nil && w > 0 {
			return w
		}
	}
	return 80
}

// clip cuts text to fewer than width columns, each rune taken as one.
func clip(text string, width int) string {
	if r := []rune(text); len(r) >= width {
		return string(r[:max(0, width-2)]) + "…"
	}
	return text
}

// bar draws a share between 0 and 1.
func bar(share float64, width int) string {
	full := int(min(max(share, 0), 1) * float64(width))
	return "[" + strings.Repeat("=", full) + strings.Repeat(" ", width-full) + "]"
}
