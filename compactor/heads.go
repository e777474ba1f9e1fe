package compactor

import (
	"container/list"

	"github.com/bargedata/barge/record"
	"github.com/bargedata/barge/tableflow/delta"
)

// Memory of the heads kept between commits. An entry takes about this much: its two texts, of a table id and an application id,
// and what map and list need.
const (
	headBytes      = 512
	headCacheBytes = 8 << 20 // 16,384 tables
)

// headCache keeps the heads of the tables that were committed to last, so that a steady table is not read back for each
// commit. It is only a hint: a stale head loses the put-if-absent and is loaded again. When full it forgets the one longest unused.
type headCache struct {
	most   int
	byID   map[record.TopicID]*list.Element
	recent *list.List // of cachedHead, the newest in front
}

type cachedHead struct {
	id   record.TopicID
	head delta.Head
}

func newHeadCache(bytes int) headCache {
	return headCache{most: max(1, bytes/headBytes), byID: map[record.TopicID]*list.Element{}, recent: list.New()}
}

// get returns the zero head for a table that is not known.
func (h *headCache) get(id record.TopicID) delta.Head {
	e := h.byID[id]
	if e == nil {
		return delta.Head{}
	}
	h.recent.MoveToFront(e)
	return e.Value.(*cachedHead).head //nolint:forcetypeassert,errcheck // nothing else is in the list
}

// put remembers a head; the zero one is forgotten.
func (h *headCache) put(id record.TopicID, head delta.Head) {
	h.drop(id)
	if head.App == "" {
		return
	}
	h.byID[id] = h.recent.PushFront(&cachedHead{id, head})
	if len(h.byID) > h.most {
		h.drop(h.recent.Back().Value.(*cachedHead).id) //nolint:forcetypeassert,errcheck // as above
	}
}

func (h *headCache) drop(id record.TopicID) {
	if e := h.byID[id]; e != nil {
		h.recent.Remove(e)
		delete(h.byID, id)
	}
}
