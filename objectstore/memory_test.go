package objectstore_test

import (
	"testing"
	"time"

	"github.com/bargedata/barge/objectstore"
	"github.com/bargedata/barge/objectstore/storetest"
)

func TestMemory(t *testing.T) {
	storetest.Run(t, func(*testing.T) objectstore.Store { return objectstore.NewMemory(time.Now) })
}
