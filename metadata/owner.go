package metadata

import (
	"errors"
	"fmt"
	"strings"
)

// Owner is what Acquire tells others about the agent that takes a term: where it is to be found.
type Owner struct {
	Kafka string // advertised Kafka host:port, for people
	Peer  string // host:port for other agents; "" of an agent older than level 3
}

const ownerMark = " peer="

// String is the owner as Log.Acquire takes it: the Kafka address alone, or "<kafka> peer=<peer>". Errors of length are Acquire's.
func (o Owner) String() string {
	if o.Peer == "" {
		return o.Kafka
	}
	return o.Kafka + ownerMark + o.Peer
}

// ErrOwner says that an owner's addresses can not be written down.
var ErrOwner = errors.New("address of the agent does not fit in the log")

// Validate refuses what ParseOwner would not give back, and what Acquire would refuse.
func (o Owner) Validate() error {
	if s := o.String(); len(s) > MaxOwnerBytes || ParseOwner(s) != o {
		return fmt.Errorf("%w: kafka %q, peer %q: at most %d bytes together, without spaces", ErrOwner, o.Kafka, o.Peer, MaxOwnerBytes-len(ownerMark))
	}
	return nil
}

// ParseOwner reads what String wrote. Everything else, agents before level 3 wrote it, is a Kafka address.
func ParseOwner(s string) Owner {
	kafka, peer, _ := strings.Cut(s, ownerMark)
	return Owner{Kafka: kafka, Peer: peer}
}
