//go:build realworld

package pglog

import (
	"errors"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/metadata/pglog/pgtest"
)

func TestSchemaIsMadeOnceAndHeldToItsVersion(t *testing.T) {
	server := pgtest.Start(t)
	cfg := Config{URL: server.URL(), Cluster: newCluster()}
	if _, err := Open(t.Context(), cfg, ids(), quiet()); !errors.Is(err, ErrNoLog) {
		t.Fatalf("open of nothing: %v", err)
	}
	// Agents that start together make one log.
	cfg.Create = true
	var mu sync.Mutex
	found := map[string]bool{}
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			l, err := Open(t.Context(), cfg, ids(), quiet())
			if err != nil {
				t.Error(err)
				return
			}
			defer l.Close()
			mu.Lock()
			defer mu.Unlock()
			found[l.ID()] = true
		})
	}
	wg.Wait()
	if len(found) != 1 {
		t.Fatalf("%d logs: %v", len(found), found)
	}
	l := open(t, cfg)
	if _, err := l.Acquire(t.Context(), "a", 0); err != nil {
		t.Fatal(err)
	}
	cfg.Create = false
	look, err := Open(t.Context(), cfg, ids(), quiet())
	if err != nil {
		t.Fatal(err)
	}
	look.Close()

	for _, c := range []struct {
		do, undo string
		want     error
		say      []string
	}{
		{`INSERT INTO @.migration (version, sum) VALUES (7, 'x')`, `DELETE FROM @.migration WHERE version = 7`, metadata.ErrNewer, []string{"version 7", "up to 1"}},
		{`UPDATE @.migration SET sum = 'x' || sum`, `UPDATE @.migration SET sum = substr(sum, 2)`, metadata.ErrCorrupt, []string{"version 1"}},
		{`UPDATE @.log SET cluster = 'elsewhere'`, `UPDATE @.log SET cluster = '` + cfg.Cluster + `'`, ErrMismatch, []string{"elsewhere", cfg.Cluster}},
	} {
		l.query(t, c.do)
		for _, create := range []bool{false, true} {
			cfg.Create = create
			_, err := Open(t.Context(), cfg, ids(), quiet())
			if !errors.Is(err, c.want) {
				t.Fatalf("%s: %v", c.do, err)
			}
			for _, text := range append(c.say, strings.TrimPrefix(Place(cfg.URL), "postgres://")) {
				if !strings.Contains(err.Error(), text) {
					t.Errorf("%q does not name %s", err, text)
				}
			}
			if strings.Contains(err.Error(), "pass") {
				t.Errorf("%q tells the password", err)
			}
		}
		l.query(t, c.undo)
	}
	// Another cluster in the same database has a log of its own.
	second := open(t, Config{URL: cfg.URL, Cluster: newCluster()})
	if h, err := second.Hint(t.Context()); err != nil || h.Term != 0 || second.ID() == l.ID() {
		t.Fatalf("a second cluster begins at %+v, %v", h, err)
	}
}

func TestWrongPasswordIsNoWeather(t *testing.T) {
	server := pgtest.Start(t)
	for url, say := range map[string]string{
		"postgres://barge:wrong@" + server.Addr + "/barge?sslmode=disable":                         "password authentication failed",
		strings.Replace(server.URL(), "/"+pgtest.Database+"?", "/nowhere?", 1):                     `database "nowhere" does not exist`,
		"postgres://nobody:wrong@" + server.Addr + "/barge?sslmode=disable&application_name=other": "authentication failed",
	} {
		_, err := Open(t.Context(), Config{URL: url, Cluster: newCluster(), Create: true}, ids(), quiet())
		if err == nil || errors.Is(err, metadata.ErrUnknown) || !strings.Contains(err.Error(), say) || strings.Contains(err.Error(), "wrong@") {
			t.Errorf("got %v, want %q", err, say)
		}
	}
	server.Stop(syscall.SIGINT)
	_, err := Open(t.Context(), Config{URL: server.URL(), Cluster: newCluster(), Create: true}, ids(), quiet())
	if !errors.Is(err, metadata.ErrUnknown) {
		t.Errorf("a server that is down: %v", err)
	}
}
