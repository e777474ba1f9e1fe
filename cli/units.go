package cli

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// sizeUnits lists the units of sizes, longest first where one ends another.
var sizeUnits = []struct {
	name  string
	bytes int64
}{
	{"kib", 1 << 10},
	{"mib", 1 << 20},
	{"gib", 1 << 30},
	{"tib", 1 << 40},
	{"kb", 1e3},
	{"mb", 1e6},
	{"gb", 1e9},
	{"tb", 1e12},
	{"b", 1},
	{"", 1},
}

// parseSize reads a number of bytes: 4096, 8MiB, 256MB, 1.5GiB. Units of 1000 and of 1024 are told apart by the i.
func parseSize(s string) (int64, error) {
	wrong := errors.New("want a size such as 8MiB, 256MB or 4096")
	text := strings.ToLower(strings.TrimSpace(s))
	for _, u := range sizeUnits {
		digits, ok := strings.CutSuffix(text, u.name)
		if !ok {
			continue
		}
		digits = strings.TrimSpace(digits)
		if digits == "" || strings.Trim(digits, "0123456789.") != "" {
			return 0, wrong
		}
		if n, err := strconv.ParseInt(digits, 10, 64); err == nil {
			if n > math.MaxInt64/u.bytes {
				return 0, errors.New("is more than any store can hold")
			}
			return n * u.bytes, nil
		}
		f, err := strconv.ParseFloat(digits, 64)
		if err != nil {
			return 0, wrong
		}
		if f *= float64(u.bytes); f >= math.MaxInt64 {
			return 0, errors.New("is more than any store can hold")
		}
		return int64(f), nil
	}
	return 0, wrong
}

// formatSize writes a size exactly, in the largest unit that divides it; parseSize reads it back.
func formatSize(n int64) string {
	for _, u := range []struct {
		name  string
		bytes int64
	}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}} {
		if n >= u.bytes && n%u.bytes == 0 {
			return strconv.FormatInt(n/u.bytes, 10) + u.name
		}
	}
	return strconv.FormatInt(n, 10)
}

// humanSize writes a size for people, rounded to three figures.
func humanSize(n int64) string {
	f, unit := float64(n), "B"
	for _, u := range []string{"kB", "MB", "GB", "TB", "PB"} {
		if f < 999.5 {
			break
		}
		f, unit = f/1000, u
	}
	switch {
	case unit == "B" || f >= 99.5:
		return fmt.Sprintf("%.0f %s", f, unit)
	case f >= 9.95:
		return fmt.Sprintf("%.1f %s", f, unit)
	default:
		return fmt.Sprintf("%.2f %s", f, unit)
	}
}

// humanCount writes a number with commas between the thousands.
func humanCount(n int64) string {
	s := strconv.FormatInt(n, 10)
	sign := ""
	if n < 0 {
		sign, s = "-", s[1:]
	}
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return sign + s
}

// parseDuration reads 250ms, 2s, 10m, 1h30m.
func parseDuration(s string) (time.Duration, error) {
	d, err := time.ParseDuration(strings.TrimSpace(s))
	if err != nil {
		return 0, errors.New("want a duration such as 250ms, 30s or 10m")
	}
	return d, nil
}

// formatDuration writes a duration without the zero parts that Duration.String adds (10m, not 10m0s).
func formatDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
