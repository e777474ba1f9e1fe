package group

import (
	"fmt"
	"regexp"
)

const (
	// maxExpressionBytes bounds a regular expression; maxExpressions how many different ones a group has. Each is held against every
	// topic when topics change.
	maxExpressionBytes = 1 << 10
	maxExpressions     = 64
)

// expression is one regular expression that members subscribe with, and the topics it matches.
type expression struct {
	re      *regexp.Regexp
	members int
	matches []string // sorted; of the topics last seen
}

// compileExpression reads a pattern in RE2's syntax, which has to match a whole name.
func compileExpression(pattern string) (*regexp.Regexp, error) {
	if len(pattern) > maxExpressionBytes {
		return nil, fmt.Errorf("it has %d bytes, at most %d are allowed", len(pattern), maxExpressionBytes)
	}
	if _, err := regexp.Compile(pattern); err != nil { // alone: an unpaired parenthesis must not pair with ours
		return nil, fmt.Errorf("RE2 syntax: %w", err)
	}
	re, err := regexp.Compile(`\A(?:` + pattern + `)\z`)
	if err != nil {
		return nil, fmt.Errorf("RE2 syntax: %w", err)
	}
	return re, nil
}

// match finds the topics anew.
func (e *expression) match(topics *TopicSet) {
	e.matches = nil
	for _, name := range topics.names {
		if e.re.MatchString(name) {
			e.matches = append(e.matches, name)
		}
	}
}
