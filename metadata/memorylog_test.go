package metadata_test

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

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

func TestMemoryLogIsLinearizable(t *testing.T) {
	seeds := uint64(150)
	if testing.Short() {
		seeds = 30
	}
	load := logtest.DefaultLoad()
	load.Pause = 5 * time.Millisecond
	logtest.RunHistories(t, seeds, load, func(_ *testing.T, seed uint64) logtest.Instance {
		log := metadata.NewMemoryLog()
		var mu sync.Mutex
		rng := rand.New(rand.NewPCG(seed, 99))
		log.SetAppendHook(func(context.Context, uint64) metadata.AppendFault {
			mu.Lock()
			wait, roll := rng.IntN(5), rng.IntN(6)
			mu.Unlock()
			time.Sleep(time.Duration(wait) * time.Millisecond)
			switch roll {
			case 0:
				return metadata.AppendUnknownKept
			case 1:
				return metadata.AppendUnknownLost
			default:
				return metadata.AppendClean
			}
		})
		return logtest.Instance{Open: func() metadata.Log { return log }, Age: func() {}}
	})
}
