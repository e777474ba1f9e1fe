//go:build realworld

package bucketlog

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bargedata/barge/metadata/logtest"
	"github.com/bargedata/barge/objectstore"
	"github.com/bargedata/barge/objectstore/s3"
	"github.com/bargedata/barge/objectstore/storetest"
)

// aging adds to the times of a server whose clock is not ours what the test's clock has moved.
type aging struct {
	objectstore.Store
	now   func() time.Time
	began time.Time
}

func (a *aging) Create(ctx context.Context, key string, body []byte) (time.Time, error) {
	at, err := a.Store.Create(ctx, key, body)
	if err == nil && !at.IsZero() {
		at = at.Add(a.now().Sub(a.began))
	}
	return at, err
}

// gateway starts one S3 server and returns a function that opens a new place in it.
func gateway(t *testing.T) func(t *testing.T, now func() time.Time) objectstore.Store {
	t.Helper()
	server := storetest.StartVersityGW(t)
	server.CreateBucket(t, "log")
	var places atomic.Int64
	return func(t *testing.T, now func() time.Time) objectstore.Store {
		t.Helper()
		store, err := s3.Open(t.Context(), s3.Config{
			Endpoint: server.Endpoint, Region: server.Region, Bucket: "log", Prefix: fmt.Sprint("p", places.Add(1)),
			AccessKey: server.AccessKey, SecretKey: server.SecretKey,
		})
		if err != nil {
			t.Fatal(err)
		}
		return &aging{Store: store, now: now, began: now()}
	}
}

func TestLogOnAnS3ServerKeepsTheContract(t *testing.T) {
	conformance(t, gateway(t), plain)
}

func TestLogOnAnS3ServerIsLinearizable(t *testing.T) {
	open := gateway(t)
	histories(t, 15, logtest.DefaultLoad(), func(t *testing.T, seed uint64, now func() time.Time) (Store, *storetest.Faulty) {
		t.Helper()
		faulty := storetest.NewFaulty(open(t, now), seed, storm())
		return faulty, faulty
	})
}
