package metadata

import (
	"errors"
	"strings"
	"testing"
)

func TestOwnersKeepTheirAddresses(t *testing.T) {
	for _, o := range []Owner{{}, {Kafka: "h:9092"}, {Kafka: "h:9092", Peer: "[::1]:7000"}} {
		if got := ParseOwner(o.String()); got != o || o.Validate() != nil {
			t.Errorf("%+v: %q, which reads %+v, %v", o, o.String(), got, o.Validate())
		}
	}
	for _, o := range []Owner{{Kafka: "h:1 peer=x", Peer: "y"}, {Kafka: strings.Repeat("h", 200), Peer: strings.Repeat("p", 60)}} {
		if err := o.Validate(); !errors.Is(err, ErrOwner) {
			t.Errorf("%+v: %v", o, err)
		}
	}
}
