// Package console is an agent's HTTP door: health, metrics, version, and a page that shows what the agent holds.
//
// Main types: Server, made of a Config and of Sources (functions that the assembly fills with looks into the parts), and Metrics,
// which the other front door and the batcher tell what they do.
//
//	metrics := console.NewMetrics()
//	srv := console.New(console.Config{Listener: l, Version: v}, console.Sources{Ready: ready, Metrics: metrics, Topics: topics})
//	err := srv.Run(ctx)
//
//	GET /         topics with their bounds and tables
//	GET /livez    200 while the process serves
//	GET /readyz   200 when the agent takes requests; 503 with the reason before that and while it drains
//	GET /metrics  Prometheus text or OpenMetrics; all names begin with barge_, go_ or process_
//	GET /version  JSON
//	GET /debug/pprof/  profiles, only on a loopback address
//
// Nothing here changes anything, and nothing here asks who calls: keep the address on loopback or a trusted network.
package console
