package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"
)

// RunStore serves a Store on addr until ctx ends, its counters on a port of their own, and prints a Ready line to out.
func RunStore(ctx context.Context, addr string, cfg StoreConfig, out io.Writer) error {
	store := NewStore(cfg)
	return serveAll(ctx, addr, out, store.counters, func(ctx context.Context, ln net.Listener) error {
		return serveHTTP(ctx, ln, store)
	})
}

// RunFloor serves the floor on addr until ctx ends, its counters on a port of their own, and prints a Ready line to out.
// storeURL is where its objects go: http://host:port/bucket/prefix.
func RunFloor(ctx context.Context, addr, storeURL string, out io.Writer) error {
	return serveAll(ctx, addr, out, nil, func(ctx context.Context, ln net.Listener) error {
		return serveFloor(ctx, ln, storeURL)
	})
}

func serveAll(ctx context.Context, addr string, out io.Writer, more func() map[string]float64, serve func(context.Context, net.Listener) error) error {
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	side, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		_ = ln.Close()
		return fmt.Errorf("listen: %w", err)
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return serveHTTP(ctx, side, serveCounters(more)) })
	g.Go(func() error { return serve(ctx, ln) })
	line, err := json.Marshal(Ready{Listen: ln.Addr().String(), Metrics: "http://" + side.Addr().String() + "/metrics"})
	if err == nil {
		_, err = fmt.Fprintf(out, "%s\n", line)
	}
	if err != nil {
		_ = ln.Close() // which ends serve, and that the rest
		return errors.Join(fmt.Errorf("tell the addresses: %w", err), g.Wait())
	}
	return g.Wait()
}

// serveHTTP answers until ctx ends, then cuts the connections.
func serveHTTP(ctx context.Context, ln net.Listener, h http.Handler) error {
	server := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
