package metadata

import "fmt"

const maxTopicName = 249

// ValidateTopicName holds a name to Kafka's rule: 1 to 249 of [a-zA-Z0-9._-], and neither "." nor "..". The error wraps
// ErrInvalidTopic and says what is wrong. That a name differs from another one in '.' and '_' alone, which Kafka refuses too, only
// View.Clash can tell. Source: Kafka's Topic.validate.
func ValidateTopicName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("%w: it is empty", ErrInvalidTopic)
	case name == "." || name == "..":
		return fmt.Errorf("%w: %q can not be a name", ErrInvalidTopic, name)
	case len(name) > maxTopicName:
		return fmt.Errorf("%w: %d characters, at most %d", ErrInvalidTopic, len(name), maxTopicName)
	}
	for i := range len(name) {
		switch c := name[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '.', c == '_', c == '-':
		default:
			return fmt.Errorf("%w: %q has a character other than a-z, A-Z, 0-9, '.', '_' and '-'", ErrInvalidTopic, name)
		}
	}
	return nil
}
