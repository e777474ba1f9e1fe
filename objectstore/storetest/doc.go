// Package storetest holds what every object store must do (Run), a store that misbehaves on purpose (Faulty), and a
// real S3 server for tests (StartVersityGW).
//
//	func TestStore(t *testing.T) {
//		storetest.Run(t, func(t *testing.T) objectstore.Store { return objectstore.NewMemory(time.Now) })
//	}
package storetest
