package console

import (
	"bytes"
	"html/template"
	"net/http"
	"sync"
)

// pageTopics is how many topics the page shows; the rest are counted.
const pageTopics = 500

// pageView is what the template sees.
type pageView struct {
	Version string
	Ready   string
	Agent   Agent
	Totals  Totals
	Sums    struct {
		Topics, Partitions, Tables int
		Records, Lag               int64
	}
	Topics []topicView
	Hidden int // topics not shown
}

type topicView struct {
	Topic
	Records, Lag int64
}

// page is parsed at its first use and never changed.
//
//nolint:gochecknoglobals // a read-only table
var page = sync.OnceValue(func() *template.Template { return template.Must(template.New("index").Parse(pageHTML)) })

func (s *Server) index(w http.ResponseWriter, _ *http.Request) {
	v := pageView{Version: s.cfg.Version, Ready: "ready", Totals: s.src.Metrics.Totals()}
	if s.src.Ready != nil {
		if err := s.src.Ready(); err != nil {
			v.Ready = err.Error()
		}
	}
	if s.src.Agent != nil {
		v.Agent = s.src.Agent()
	}
	if s.src.Topics != nil {
		topics := s.src.Topics()
		sums := sumTopics(topics)
		v.Sums.Topics, v.Sums.Partitions, v.Sums.Tables = sums.topics, sums.partitions, sums.tables
		v.Sums.Records, v.Sums.Lag = sums.records, sums.lag
		v.Hidden = max(0, len(topics)-pageTopics)
		for _, t := range topics[:len(topics)-v.Hidden] {
			one := sumTopics([]Topic{t})
			v.Topics = append(v.Topics, topicView{Topic: t, Records: one.records, Lag: one.lag})
		}
	}
	var out bytes.Buffer
	if err := page().Execute(&out, v); err != nil {
		text(w, http.StatusInternalServerError, "the page could not be made: "+err.Error())
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
	_, _ = w.Write(out.Bytes()) // the peer is gone: nobody to tell
}

const pageHTML = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Barge</title>
<style>
:root { color-scheme: light dark }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem }
table { border-collapse: collapse; width: 100%; margin: 1rem 0 }
th, td { text-align: left; padding: .25rem .75rem .25rem 0; border-bottom: 1px solid #8884; vertical-align: top }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums }
summary { cursor: pointer }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0 1rem }
dd { margin: 0 }
</style>
</head>
<body>
<h1>Barge</h1>
<dl>
<dt>State</dt><dd>{{.Ready}}</dd>
<dt>Version</dt><dd>{{.Version}}</dd>
{{with .Agent.Cluster}}<dt>Cluster</dt><dd>{{.}}</dd>{{end}}
{{with .Agent.Kafka}}<dt>Kafka</dt><dd>{{.}}</dd>{{end}}
{{with .Agent.Store}}<dt>Store</dt><dd>{{.}}</dd>{{end}}
{{with .Agent.Zone}}<dt>Zone</dt><dd>{{.}}</dd>{{end}}
{{with .Agent.Term}}<dt>Metadata log</dt><dd>term {{.}}, {{if $.Agent.Sequencing}}ordered by this agent{{else}}ordered by {{with $.Agent.Sequencer}}{{.}}{{else}}nobody that is known{{end}}{{end}}</dd>{{end}}
<dt>Produce</dt><dd>{{.Totals.ProduceRequests}} requests, {{.Totals.ProducedBytes}} bytes, p50 {{.Totals.P50}}, p99 {{.Totals.P99}}</dd>
</dl>
{{with .Agent.Members}}<h2>{{len .}} agents</h2>
<table>
<thead><tr><th class="n">Session</th><th>Kafka</th><th>Peer</th><th>Zone</th><th>Roles</th><th class="n">Produce B/s</th><th class="n">Fetch B/s</th><th class="n">Connections</th><th>State</th></tr></thead>
<tbody>{{range .}}<tr><td class="n">{{.Session}}</td><td>{{.Kafka}}</td><td>{{.Peer}}</td><td>{{.Zone}}</td><td>{{range $i, $r := .Roles}}{{if $i}}, {{end}}{{$r}}{{else}}all{{end}}</td><td class="n">{{.ProduceRate}}</td><td class="n">{{.FetchRate}}</td><td class="n">{{.Connections}}</td><td>{{if .Draining}}draining{{else}}live{{end}}</td></tr>{{end}}</tbody>
</table>{{end}}
<h2>{{.Sums.Topics}} topics, {{.Sums.Partitions}} partitions, {{.Sums.Records}} records, {{.Sums.Tables}} tables</h2>
{{if .Topics}}<table>
<thead><tr><th>Topic</th><th class="n">Partitions</th><th class="n">Records</th><th class="n">Not in the table yet</th><th class="n">Table version</th><th class="n">Rows</th><th class="n">Files</th><th class="n">Bytes</th></tr></thead>
<tbody>
{{range .Topics}}<tr><td><details><summary>{{.Name}}</summary><table>
<thead><tr><th class="n">Partition</th><th class="n">Log start</th><th class="n">Compacted end</th><th class="n">High watermark</th></tr></thead>
<tbody>{{range .Partitions}}<tr><td class="n">{{.Index}}</td><td class="n">{{.LogStart}}</td><td class="n">{{.CompactedEnd}}</td><td class="n">{{.HighWatermark}}</td></tr>{{end}}</tbody>
</table></details></td><td class="n">{{len .Partitions}}</td><td class="n">{{.Records}}</td><td class="n">{{.Lag}}</td>
{{- with .Table}}<td class="n">{{if ge .Version 0}}{{.Version}}{{else}}none yet{{end}}</td><td class="n">{{.Rows}}</td><td class="n">{{.Files}}</td><td class="n">{{.Bytes}}</td>{{else}}<td class="n">none</td><td></td><td></td><td></td>{{end}}</tr>
{{end}}</tbody>
</table>{{if .Hidden}}<p>and {{.Hidden}} more topics.</p>{{end}}{{else}}<p>No topics yet.</p>{{end}}
<p><a href="/metrics">metrics</a> · <a href="/readyz">readiness</a> · <a href="/version">version</a></p>
</body>
</html>
`
