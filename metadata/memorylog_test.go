package metadata_test

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/bargedata/barge/metadata"
	"github.com/bargedata/barge/metadata/logtest"
)

func TestMemoryLogKeepsTheContract(t *testing.T) {
	logtest.Run(t, func(*testing.T) logtest.Instance {
		log := metadata.NewMemoryLog()
		var fault atomic.Int32
		log.SetAppendHook(func(context.Context, uint64) metadata.AppendFault {
			return metadata.AppendFault(fault.Swap(int32(metadata.AppendClean)))
		})
		return logtest.Instance{
			Open: func() metadata.Log { return log },
			Doubt: func(effect bool) {
				if effect {
					fault.Store(int32(metadata.AppendUnknownKept))
				} else {
					fault.Store(int32(metadata.AppendUnknownLost))
				}
			},
			DamageNewestSnapshot: log.CorruptNewestSnapshot,
			Age:                  func() {},
		}
	})
}
