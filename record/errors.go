package record

import "errors"

// Errors a caller acts on; they come wrapped with what was wrong, so compare with errors.Is.
var (
	// ErrTruncated: the bytes end before the batch or object does. More bytes may help.
	ErrTruncated = errors.New("truncated")
	// ErrMagic: the bytes are of another format or version (a Kafka message set of magic 0 or 1, for one).
	ErrMagic = errors.New("unsupported magic")
	// ErrCorrupt: a checksum, or a length that everything else depends on, does not hold: the bytes were damaged.
	ErrCorrupt = errors.New("corrupt")
	// ErrInvalid: the bytes arrived as they were sent, and what they say is against the format's rules.
	ErrInvalid = errors.New("invalid")
	// ErrUnknownCodec: the batch names a compression codec that does not exist.
	ErrUnknownCodec = errors.New("unknown codec")
	// ErrTooLarge: decompressing, or the window it needs, would pass the limit.
	ErrTooLarge = errors.New("too large")
)
