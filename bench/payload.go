package bench

import (
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strconv"
)

// Payload is what records are made of. Zeros are not offered: they flatter every codec.
type Payload string

// The payloads.
const (
	PayloadLogs   Payload = "logs"   // JSON of a service's logs, which zstd makes about four times smaller
	PayloadRandom Payload = "random" // nothing makes it smaller
)

// ParsePayload is the payload of that name.
func ParsePayload(name string) (Payload, error) {
	switch p := Payload(name); p {
	case PayloadLogs, PayloadRandom:
		return p, nil
	default:
		return "", fmt.Errorf("payload %q: want %s or %s", name, PayloadLogs, PayloadRandom)
	}
}

// value makes one record's value of exactly size bytes. Equal generators make equal values.
func (p Payload) value(rng *rand.Rand, size int) []byte {
	if p == PayloadRandom {
		b := make([]byte, size)
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		return b
	}
	return logLine(rng, size)
}

// logLine is a line of JSON, cut or filled up with further words of its message to size bytes.
func logLine(rng *rand.Rand, size int) []byte {
	var id [12]byte
	for i := range id {
		id[i] = byte(rng.Uint32())
	}
	b := make([]byte, 0, size+64)
	b = append(b, `{"timestamp":"2026-01-01T00:00:`...)
	b = strconv.AppendFloat(b, 10+rng.Float64()*49, 'f', 6, 64)
	b = append(b, `Z","severity":"`...)
	b = append(b, pick(rng, []string{"INFO", "INFO", "INFO", "DEBUG", "WARN", "ERROR"})...)
	b = append(b, `","service":"`...)
	b = append(b, pick(rng, []string{"frontend", "catalog", "cart", "checkout", "payment", "shipping"})...)
	b = append(b, `","trace_id":"`...)
	b = hex.AppendEncode(b, id[:])
	b = append(b, `","status":`...)
	b = strconv.AppendInt(b, int64(200+100*rng.IntN(4)), 10)
	b = append(b, `,"duration_ms":`...)
	b = strconv.AppendFloat(b, rng.ExpFloat64()*20, 'f', 2, 64)
	b = append(b, `,"user":"u`...)
	b = strconv.AppendInt(b, int64(rng.IntN(50_000)), 10)
	b = append(b, `","message":"`...)
	for len(b) < size-2 {
		b = append(b, pick(rng, words())...)
		if rng.IntN(6) == 0 {
			b = append(b, '=')
			b = strconv.AppendInt(b, int64(rng.IntN(100_000)), 10)
		}
		b = append(b, ' ')
	}
	if size < 2 {
		return b[:size]
	}
	return append(b[:size-2], `"}`...)
}

func pick(rng *rand.Rand, from []string) string { return from[rng.IntN(len(from))] }

// words are of the messages.
func words() []string {
	return []string{
		"request", "served", "upstream", "call", "failed", "deadline exceeded", "after", "attempts", "retry scheduled", "cache", "lookup",
		"hit", "miss", "connection", "pool", "exhausted", "order", "accepted", "payment", "authorized", "queue depth", "worker", "started",
		"stopped", "at com.example.shop.Checkout.process(Checkout.java)", "at com.example.shop.http.Handler.serve(Handler.java)",
		"slow query", "rows", "index scan", "session", "expired", "token", "refreshed", "GET /product/{id}", "POST /cart/checkout",
	}
}
