package peer

import (
	"net/http"
	"strings"
	"time"
)

// withDeadlines keeps a caller that does not read, or does not send, from holding a call for ever: net/http ends a stream whose
// deadline passed, also where its own flow control makes it wait. A stream of commands has none; pings find out whether the other
// end lives.
func withDeadlines(next http.Handler, now func() time.Time) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasSuffix(r.URL.Path, "/Submit") {
			control, until := http.NewResponseController(w), now().Add(callTimeout)
			// Both are supported wherever HTTP/2 is, and nothing else is served.
			_ = control.SetReadDeadline(until)
			_ = control.SetWriteDeadline(until)
		}
		next.ServeHTTP(w, r)
	})
}
