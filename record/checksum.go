package record

import "hash/crc32"

// Checksum is CRC-32C (Castagnoli), the checksum of record batches, runs and WAL objects.
func Checksum(p []byte) uint32 { return UpdateChecksum(0, p) }

// UpdateChecksum continues a Checksum over more bytes.
func UpdateChecksum(crc uint32, p []byte) uint32 {
	// MakeTable returns the one shared table for this polynomial, which also selects the CPU's own instruction.
	return crc32.Update(crc, crc32.MakeTable(crc32.Castagnoli), p)
}

// checksumShift moves checksums over a number of bytes: shift(n).join(Checksum(a), Checksum(b)), with n the length of b,
// is the Checksum of a and b one after the other. Checksums are polynomials over GF(2) modulo the Castagnoli polynomial;
// bytes that follow multiply what came before by x^8 each. Source: zlib's crc32_combine.
type checksumShift uint32 // x^(8n)

// shiftBytes returns the shift over n bytes. It takes about as long as a checksum of 30 KiB.
func shiftBytes(n int) checksumShift {
	power, square := uint32(1<<31), uint32(1<<23) // x^0 and x^8: the highest bit is the lowest power
	for ; n > 0; n >>= 1 {
		if n&1 != 0 {
			power = mulChecksum(power, square)
		}
		square = mulChecksum(square, square)
	}
	return checksumShift(power)
}

func (s checksumShift) join(before, after uint32) uint32 {
	return mulChecksum(uint32(s), before) ^ after
}

// mulChecksum multiplies two polynomials modulo Castagnoli's.
func mulChecksum(a, b uint32) (product uint32) {
	for range 32 {
		product ^= b & -(a >> 31)
		a <<= 1
		b = b>>1 ^ crc32.Castagnoli&-(b&1)
	}
	return product
}
