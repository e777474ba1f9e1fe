package console

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Clients name themselves and their zones as they like, and there is no end to them.
func TestSeriesOfCrossingClientsAreBounded(t *testing.T) {
	m := NewMetrics()
	m.CrossedZones("orders", "b", 10, 20)
	m.CrossedZones("orders", "b", 1, 2)
	m.CrossedZones("\xff"+strings.Repeat("x", 500), "b", 1, 1)
	for i := range 3 * maxCrossers {
		m.CrossedZones(fmt.Sprintf("client-%d", i), fmt.Sprintf("zone-%d", i), 5, 7)
	}
	w := httptest.NewRecorder()
	promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{}).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	body := w.Body.String()
	series := strings.Count(body, "\nbarge_cross_zone_bytes_total{")
	if want := 2 * (maxCrossers + 1); series != want {
		t.Errorf("%d series, want %d", series, want)
	}
	rest := 3*maxCrossers - (maxCrossers - 2)
	for _, want := range []string{
		`barge_cross_zone_bytes_total{client="orders",direction="in",zone="b"} 11`,
		`barge_cross_zone_bytes_total{client="orders",direction="out",zone="b"} 22`,
		`barge_cross_zone_bytes_total{client="?` + strings.Repeat("x", maxCrosserName-1) + `",direction="in",zone="b"} 1`,
		fmt.Sprintf(`barge_cross_zone_bytes_total{client="other",direction="in",zone="other"} %d`, 5*rest),
	} {
		if !strings.Contains(body, want+"\n") {
			t.Errorf("no line %s", want)
		}
	}
}
