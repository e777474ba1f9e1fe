package fsck

// fix says what Repair does about a finding; the zero fix is none.
type fix struct {
	drop string // delete this object
	mend string // rebuild the Delta log of the table at this path
}

// leftover remembers an object that goes by itself, for Repair to delete at once.
func (c *checker) leftover(key string) {
	if len(c.leftovers) < c.o.MaxFindings {
		c.leftovers = append(c.leftovers, key)
	}
}
