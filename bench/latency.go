package bench

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"time"
)

// Profile is how long a Store takes to answer.
type Profile string

// The profiles. Times of S3 are close to log-normal; docs/benchmarks.md says where the numbers are from.
const (
	ProfileZero Profile = "zero" // at once: for figures of CPU
	ProfileNice Profile = "nice" // PUT: median 70 ms and 120 MiB/s; GET: median 25 ms and 90 MiB/s; one in a thousand takes eight times as long
)

// ParseProfile is the profile of that name.
func ParseProfile(name string) (Profile, error) {
	switch p := Profile(name); p {
	case ProfileZero, ProfileNice:
		return p, nil
	default:
		return "", fmt.Errorf("latency profile %q: want %s or %s", name, ProfileZero, ProfileNice)
	}
}

// delays draws times by a profile. Safe for concurrent use.
type delays struct {
	zero bool

	mu  sync.Mutex
	rng *rand.Rand
}

func newDelays(p Profile, seed uint64) *delays {
	return &delays{zero: p != ProfileNice, rng: rand.New(rand.NewPCG(seed, 0x64656c6179))}
}

// put waits as a PUT of so many bytes does.
func (d *delays) put(ctx context.Context, bytes int64) { d.wait(ctx, 70, 0.46, bytes, 120<<20) }

// get waits as a GET of so many bytes does.
func (d *delays) get(ctx context.Context, bytes int64) { d.wait(ctx, 25, 0.6, bytes, 90<<20) }

func (d *delays) wait(ctx context.Context, medianMillis, sigma float64, bytes, perSecond int64) {
	if d.zero {
		return
	}
	timer := time.NewTimer(d.draw(medianMillis, sigma) + time.Duration(float64(bytes)/float64(perSecond)*float64(time.Second)))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

func (d *delays) draw(medianMillis, sigma float64) time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	millis := medianMillis * math.Exp(sigma*d.rng.NormFloat64())
	if d.rng.IntN(1000) == 0 {
		millis *= 8
	}
	return time.Duration(millis * float64(time.Millisecond))
}
