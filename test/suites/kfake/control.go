package kfake

import (
	"sync"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// controls are functions that see requests before an agent does.
type controls struct {
	mu  sync.Mutex
	all []*control
}

type control struct {
	key  int16
	see  func(kmsg.Request) (kmsg.Response, error, bool)
	left int // requests that it may answer
}

// ControlKey lets f see each request of an API before the agent. If f returns true, its response or error is the answer, an
// error being the end of the connection, and f is not called again. Functions of one API are asked in the order they were
// added, one at a time; f must not call the cluster.
func (c *Cluster) ControlKey(key int16, f func(kmsg.Request) (kmsg.Response, error, bool)) {
	c.controls.add(&control{key: key, see: f, left: 1})
}

// Fault is an error that requests get in place of an agent's answer.
type Fault struct {
	Keys  []kmsg.Key              // of these APIs
	Err   *kerr.Error             // this error; an unknown server error without one
	Count int                     // so many requests; 0 is one
	When  func(kmsg.Request) bool // of those only; it must not block
}

// Fault makes the next requests that fit fail at their top level. APIs without an error code there are not known.
func (c *Cluster) Fault(f Fault) {
	code := kerr.UnknownServerError.Code
	if f.Err != nil {
		code = f.Err.Code
	}
	for _, key := range f.Keys {
		c.controls.add(&control{key: int16(key), left: max(f.Count, 1), see: func(req kmsg.Request) (kmsg.Response, error, bool) {
			if f.When != nil && !f.When(req) {
				return nil, nil, false
			}
			resp, ok := req.ResponseKind().(*kmsg.ConsumerGroupHeartbeatResponse)
			if !ok {
				return nil, nil, false
			}
			resp.ErrorCode = code
			return resp, nil, true
		}})
	}
}

func (c *controls) add(n *control) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all = append(c.all, n)
}

// run asks the controls; no response and no error means that the agent is to answer.
func (c *controls) run(req kmsg.Request) (kmsg.Response, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range c.all {
		if n.key != req.Key() || n.left == 0 {
			continue
		}
		resp, err, handled := n.see(req)
		if !handled {
			continue
		}
		n.left--
		if resp == nil && err == nil {
			err = errSilence
		}
		if resp != nil {
			resp.SetVersion(req.GetVersion())
		}
		return resp, err
	}
	return nil, nil
}
