//go:build realworld

package test

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// leaves is an answer as a flat list of paths and values, without what must differ between two servers: identities, addresses,
// times. A list's element is named by what identifies it, not by its place, where it has such a field.
type leaves map[string]string

// leavesOf flattens an answer.
func leavesOf(resp kmsg.Response) leaves {
	out := make(leaves)
	flatten(out, apiName(resp.Key()), reflect.ValueOf(resp).Elem())
	for path, value := range out {
		if p, v := versionName.ReplaceAllString(path, "-vN"), versionName.ReplaceAllString(value, "-vN"); p != path || v != value {
			delete(out, path)
			out[p] = v
		}
	}
	return out
}

func apiName(key int16) string { return kmsg.NameForKey(key) }

// identities are the fields that name a list's element, the first that it has.
var identities = []string{"Topic", "ResourceName", "Name", "Group", "GroupID", "ApiKey", "Key", "Partition", "InstanceID", "MemberID", "NodeID"}

// ignored are fields that say when and where, or how a server batches, and nothing about what a client may rely on.
var ignored = map[string]bool{
	"ThrottleMillis": true, "UnknownTags": true, "Version": true, "Host": true, "Port": true, "Rack": true,
	"CurrentLeader": true, // and node endpoints: where the leader is
}

// mapped are fields whose value differs from server to server, or from run to run; what counts is whether there is one.
var mapped = map[string]bool{
	"NodeID": true, "ControllerID": true, "Leader": true, "LeaderID": true, "Replicas": true, "ISR": true, "BrokerID": true,
	"ClusterID": true, "TopicID": true, "MemberID": true, "LeaderMemberID": true, "ProducerID": true, "LogAppendTime": true,
	"IncarnationID": true, "ClientHost": true, "ErrorMessage": true, "Documentation": true, "FinalizedFeaturesEpoch": true,
}

// versionName is what versioned appends to the names of what a case makes.
var versionName = regexp.MustCompile(`-v[a-z]\b`)

var uuid = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)

func flatten(out leaves, path string, v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			out[path] = "null"
			return
		}
		flatten(out, path, v.Elem())
	case reflect.Struct:
		for i := range v.NumField() {
			field := v.Type().Field(i)
			if ignored[field.Name] {
				continue
			}
			at := path + "." + field.Name
			switch {
			case field.Name == "RecordBatches" || field.Name == "Records" && v.Field(i).Kind() == reflect.Slice:
				out[at] = describeBatches(v.Field(i).Bytes())
			case mapped[field.Name]:
				out[at] = whether(v.Field(i))
			default:
				flatten(out, at, v.Field(i))
			}
		}
	case reflect.Slice, reflect.Array:
		if v.Kind() == reflect.Slice && v.IsNil() {
			out[path] = "null list"
			return
		}
		if v.Type().Elem().Kind() == reflect.Uint8 {
			out[path] = fmt.Sprintf("%q", v.Bytes())
			return
		}
		if v.Len() == 0 {
			out[path] = "empty list"
			return
		}
		for i := range v.Len() {
			flatten(out, path+"["+elementName(v.Index(i), i)+"]", v.Index(i))
		}
	default:
		out[path] = uuid.ReplaceAllString(fmt.Sprint(v.Interface()), "UUID")
	}
}

// whether tells an identity apart from none.
func whether(v reflect.Value) string {
	switch {
	case v.Kind() == reflect.Pointer && v.IsNil():
		return "null"
	case v.Kind() == reflect.Slice:
		if v.Len() == 0 {
			return "none"
		}
		return "some"
	case v.IsZero():
		return "zero"
	case v.CanInt() && v.Int() < 0:
		return strconv.FormatInt(v.Int(), 10)
	case v.Kind() == reflect.Pointer && v.Elem().IsZero():
		return "zero"
	default:
		return "set"
	}
}

func elementName(v reflect.Value, i int) string {
	if v.Kind() != reflect.Struct {
		return strconv.Itoa(i)
	}
	for _, name := range identities {
		f := v.FieldByName(name)
		if !f.IsValid() {
			continue
		}
		if f.Kind() == reflect.Pointer {
			if f.IsNil() {
				continue
			}
			f = f.Elem()
		}
		if mapped[name] {
			return strconv.Itoa(i)
		}
		return fmt.Sprint(f.Interface())
	}
	return strconv.Itoa(i)
}

// describeBatches says what records are in batches, however they are cut and compressed.
func describeBatches(b []byte) string {
	if len(b) == 0 {
		return "no batches"
	}
	var out strings.Builder
	for len(b) > 0 {
		var h kmsg.RecordBatch
		size := 0
		if len(b) > 12 {
			size = 12 + int(binary.BigEndian.Uint32(b[8:]))
		}
		if size == 0 || size > len(b) || h.ReadFrom(b[:size]) != nil {
			return out.String() + "then a part of a batch"
		}
		fmt.Fprintf(&out, "%d-%d, %d records, attributes %d, leader epoch %d, producer epoch %d, sequence %d; ", h.FirstOffset, h.FirstOffset+int64(h.LastOffsetDelta), h.NumRecords, h.Attributes, h.PartitionLeaderEpoch, h.ProducerEpoch, h.FirstSequence)
		b = b[size:]
	}
	return out.String()
}

// rule allows a difference: where, why, and whether each run must show it.
type rule struct {
	pattern   *regexp.Regexp
	sometimes bool
	text      string
	used      bool
}

// readRules reads a list of allowed differences. A line is a pattern over paths (`*` stands for anything), a colon and a blank,
// and the reason; "sometimes" before it says that a run need not show the difference. All other rules must be used.
func readRules(t *testing.T, path string) []*rule {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var rules []*rule
	for scan := bufio.NewScanner(f); scan.Scan(); {
		line := strings.TrimSpace(scan.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		pattern, reason, ok := strings.Cut(line, ": ")
		if !ok || strings.TrimSpace(reason) == "" {
			t.Fatalf("%s: %q has no reason", path, line)
		}
		pattern, sometimes := strings.CutPrefix(pattern, "sometimes ")
		rules = append(rules, &rule{
			pattern:   regexp.MustCompile("^" + strings.ReplaceAll(regexp.QuoteMeta(pattern), `\*`, ".*") + "$"),
			sometimes: sometimes, text: line,
		})
	}
	return rules
}

// allowed says whether a rule covers a path; all rules that do count as used.
func allowed(rules []*rule, path string) bool {
	ok := false
	for _, r := range rules {
		if r.pattern.MatchString(path) {
			r.used, ok = true, true
		}
	}
	return ok
}

// differences compares what two servers answered, by path, and returns the differences that no rule allows.
func differences(rules []*rule, what string, kafka, ours map[string][]string) []string {
	var out []string
	paths := make(map[string]bool)
	for p := range kafka {
		paths[p] = true
	}
	for p := range ours {
		paths[p] = true
	}
	for p := range paths {
		k, b := told(kafka[p]), told(ours[p])
		switch {
		case k == b || allowed(rules, what+"/"+p):
		case kafka[p] == nil:
			out = append(out, fmt.Sprintf("%s/%s: only barge has it", what, element(p)))
		case ours[p] == nil:
			out = append(out, fmt.Sprintf("%s/%s: only Kafka has it", what, element(p)))
		default:
			out = append(out, fmt.Sprintf("%s/%s: Kafka %s, barge %s", what, p, k, b))
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// element is the path of the list's element that a path leads into: all that is missing of it is one difference.
func element(path string) string {
	if i := strings.LastIndexByte(path, ']'); i >= 0 {
		return path[:i+1]
	}
	return path
}

// told is a list of answers as text: equal ones once, with the versions that gave them ("v3 0" is the value 0 of version 3).
func told(values []string) string {
	if len(values) == 0 {
		return "nothing"
	}
	var order []string
	versions := make(map[string][]string)
	for _, v := range values {
		version, value, _ := strings.Cut(v, " ")
		if versions[value] == nil {
			order = append(order, value)
		}
		versions[value] = append(versions[value], version)
	}
	slices.Sort(order)
	var out []string
	for _, value := range order {
		list := slices.Compact(versions[value])
		text := list[0]
		if len(list) > 1 {
			text += "-" + list[len(list)-1]
		}
		out = append(out, text+" "+value)
	}
	return strings.Join(out, " | ")
}

// unused are the rules that a run had to show and did not.
func unused(rules []*rule) []string {
	var out []string
	for _, r := range rules {
		if !r.used && !r.sometimes {
			out = append(out, r.text)
		}
	}
	return out
}
