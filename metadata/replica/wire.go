package replica

import (
	"time"

	"github.com/bargedata/barge/peer/peerpb"
	"github.com/bargedata/barge/routing"
)

func toWire(m routing.Member) *peerpb.Member {
	return &peerpb.Member{
		Session: m.Session, Kafka: m.Kafka, Peer: m.Peer, Http: m.HTTP, Zone: m.Zone, Roles: m.Roles, Draining: m.Draining,
		ProduceRate: m.ProduceRate, FetchRate: m.FetchRate, Connections: m.Connections,
	}
}

func fromWire(w *peerpb.Member) routing.Member {
	return routing.Member{
		Session: w.GetSession(), Kafka: w.GetKafka(), Peer: w.GetPeer(), HTTP: w.GetHttp(), Zone: w.GetZone(), Roles: w.GetRoles(), Draining: w.GetDraining(),
		ProduceRate: w.GetProduceRate(), FetchRate: w.GetFetchRate(), Connections: w.GetConnections(),
	}
}

func msDuration(ms int64) time.Duration { return time.Duration(ms) * time.Millisecond }
