package console

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// stopTimeout is how long requests in flight may go on after Run was told to end; a profile may take 30 s and is cut.
const stopTimeout = 3 * time.Second

// Config holds the settings of a Server.
type Config struct {
	Listener net.Listener // used and closed by Run; nil: Run listens on Listen
	Listen   string       // host:port
	Version  string       // of this build
	NoPage   bool         // health and metrics alone
}

// Server is the HTTP door. Make it with New, run it once with Run.
type Server struct {
	cfg Config
	src Sources
}

// New makes a server; nothing starts before Run.
func New(cfg Config, src Sources) *Server {
	if src.Metrics == nil {
		src.Metrics = NewMetrics()
	}
	return &Server{cfg: cfg, src: src}
}

// Run serves until ctx ends; then it refuses new connections, gives requests in flight three seconds, and returns nil.
// Before that it returns only what kept it from listening.
func (s *Server) Run(ctx context.Context) error {
	l := s.cfg.Listener
	if l == nil {
		var lc net.ListenConfig
		var err error
		if l, err = lc.Listen(ctx, "tcp", s.cfg.Listen); err != nil {
			return fmt.Errorf("admin listener: %w: choose another address with --http", err)
		}
	}
	handler, err := s.Handler(isLoopback(l.Addr()))
	if err != nil {
		_ = l.Close() // nothing was served on it
		return err
	}
	srv := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      90 * time.Second, // a CPU profile takes 30 s by default
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
	}
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(l) }()
	select {
	case err := <-ended:
		return fmt.Errorf("admin listener: %w", err)
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	if err := srv.Shutdown(stop); err != nil {
		_ = srv.Close() // what is cut here was only reading
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("admin listener: %w", err)
	}
	return nil
}

// Handler returns the routes, with profiles or without. It may be called once.
func (s *Server) Handler(profiles bool) (http.Handler, error) {
	registry := s.src.Metrics.registry
	for _, c := range []prometheus.Collector{
		&collector{src: s.src, version: s.cfg.Version}, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	} {
		if err := registry.Register(c); err != nil {
			return nil, fmt.Errorf("metrics: %w", err)
		}
	}
	mux := http.NewServeMux()
	if !s.cfg.NoPage {
		mux.HandleFunc("GET /{$}", s.index)
	}
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { text(w, http.StatusOK, "ok") })
	mux.HandleFunc("GET /readyz", s.readyz)
	mux.HandleFunc("GET /version", s.version)
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{EnableOpenMetrics: true, MaxRequestsInFlight: 4}))
	if profiles {
		// A page elsewhere may point a browser here under a name of its own; profiles are for those who name this host.
		local := func(h http.HandlerFunc) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				if !isLocalHost(r.Host) {
					text(w, http.StatusForbidden, "profiles are served to localhost only")
					return
				}
				h(w, r)
			}
		}
		mux.HandleFunc("GET /debug/pprof/", local(pprof.Index))
		mux.HandleFunc("GET /debug/pprof/cmdline", local(pprof.Cmdline))
		mux.HandleFunc("GET /debug/pprof/profile", local(pprof.Profile))
		mux.HandleFunc("GET /debug/pprof/symbol", local(pprof.Symbol))
		mux.HandleFunc("GET /debug/pprof/trace", local(pprof.Trace))
	}
	return mux, nil
}

func text(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = fmt.Fprintln(w, body) // the peer is gone: nobody to tell
}

func (s *Server) readyz(w http.ResponseWriter, _ *http.Request) {
	if s.src.Ready != nil {
		if err := s.src.Ready(); err != nil {
			text(w, http.StatusServiceUnavailable, err.Error())
			return
		}
	}
	text(w, http.StatusOK, "ok")
}

func (s *Server) version(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]string{ // the peer is gone: nobody to tell
		"version": s.cfg.Version, "go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH,
	})
}

// isLoopback tells whether only this machine can reach the address.
func isLoopback(a net.Addr) bool {
	ap, err := netip.ParseAddrPort(a.String())
	return err == nil && ap.Addr().Unmap().IsLoopback()
}

// isLocalHost tells whether a Host header names this machine.
func isLocalHost(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}
