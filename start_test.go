package barge_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/bargedata/barge"
	"github.com/bargedata/barge/objectstore"
)

// absent is a store that does not answer.
type absent struct{ *objectstore.Memory }

func (absent) Get(_ context.Context, key string, _ int64) ([]byte, error) {
	return nil, fmt.Errorf("get %s: %w", key, objectstore.ErrUnknown)
}

func TestAStartThatWaitsForItsStoreAnswersAndCanBeStopped(t *testing.T) {
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cfg := barge.DefaultConfig()
	cfg.Listen, cfg.HTTP = "127.0.0.1:0", l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	agent, err := barge.New(cfg, barge.Parts{
		Logger: slog.New(slog.DiscardHandler), Env: func(string) string { return "" }, Now: time.Now,
		Seed: uint64(time.Now().UnixNano()), Version: "test", Store: absent{objectstore.NewMemory(time.Now)},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- agent.Run(ctx) }()

	get := func(path string) (status int, body string, err error) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+cfg.HTTP+path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return 0, "", err
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		return resp.StatusCode, string(text), err
	}
	eventually(t, "the agent answers that it lives", func() bool {
		status, _, err := get("/livez")
		return err == nil && status == http.StatusOK
	})
	if status, body, err := get("/readyz"); err != nil || status != http.StatusServiceUnavailable || !strings.Contains(body, "starting") {
		t.Errorf("/readyz of an agent that waits for its store: %d %q %v", status, body, err)
	}
	for _, path := range []string{"/metrics", "/"} {
		if status, _, err := get(path); err != nil || status != http.StatusOK {
			t.Errorf("%s of an agent that waits for its store: %d %v", path, status, err)
		}
	}
	cancel()
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("stopped while it waited: %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the agent does not end")
	}
}
