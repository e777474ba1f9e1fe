package objectstore

import "context"

type checksumKey struct{}

// WithChecksum tells the CRC-32C of the body that the one call made with the context writes, by whoever made it while the
// bytes were at hand: a driver that sends a checksum along need not read the body once more. A wrong one is found out by
// the store, which refuses the body. Decorators hand the context on and need not know.
func WithChecksum(ctx context.Context, crc uint32) context.Context {
	return context.WithValue(ctx, checksumKey{}, crc)
}

// ChecksumOf is what WithChecksum told.
func ChecksumOf(ctx context.Context) (crc uint32, ok bool) {
	crc, ok = ctx.Value(checksumKey{}).(uint32)
	return crc, ok
}
